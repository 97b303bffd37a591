// Short messages at the page's edge: what was done, or why it was not. Read out, and gone after a while.

import { signal } from '@preact/signals';

interface Notice {
  key: number;
  text: string;
  kind: 'good' | 'warn';
}

const SHOWN_MS = 6_000;
const notices = signal<readonly Notice[]>([]);
let keys = 0;

export function tell(text: string, kind: Notice['kind'] = 'good'): void {
  const notice = { key: keys++, text, kind };
  notices.value = [...notices.peek().slice(-3), notice];
  setTimeout(() => drop(notice), SHOWN_MS);
}

const drop = (notice: Notice) => {
  notices.value = notices.peek().filter((other) => other !== notice);
};

export function Notices() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map((notice) => (
        <p key={notice.key} class={notice.kind}>
          <span>
            {notice.kind === 'warn' ? '⚠ ' : '✓ '}
            {notice.text}
          </span>
          <button type="button" class="icon" aria-label="Dismiss" onClick={() => drop(notice)}>
            ✕
          </button>
        </p>
      ))}
    </div>
  );
}
