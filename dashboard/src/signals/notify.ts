// Notifications of the browser for signals that pass the filter, where they were asked for: while nobody looks at the page. Many
// at once become one.

import { computed, signal } from '@preact/signals';
import type { Signal } from '../api/wire';
import { digitsFor } from '../market/symbols';
import { price, SIDES } from '../shell/format';
import { stored } from '../shell/stored';

const AT_MOST_EVERY_MS = 5_000;

/** Whether they were asked for, kept in this browser. */
const wanted = stored<boolean>('notify', false);
/** Whether the browser allows them: what was allowed once may be taken back. */
const allowed = signal('Notification' in window && Notification.permission === 'granted');

export const notifying = computed(() => wanted.value && allowed.value);
/** Why they cannot be had. */
export const notifyProblem = signal('');

let last = Number.NEGATIVE_INFINITY;
let left = 0;

export async function toggleNotifications(): Promise<void> {
  notifyProblem.value = '';
  if (notifying.peek()) {
    wanted.value = false;
    return;
  }
  if (!('Notification' in window)) {
    notifyProblem.value = 'This browser shows no notifications.';
    return;
  }
  allowed.value = (await Notification.requestPermission()) === 'granted';
  wanted.value = allowed.value;
  if (!allowed.value) notifyProblem.value = 'The browser does not allow notifications from this page; allow them in its settings.';
}

export function notify({ id, symbol, side, price: at, strategy, reason }: Signal): void {
  if (!notifying.peek()) return;
  if (!document.hidden) {
    left = 0;
    return;
  }
  const now = performance.now();
  if (now - last < AT_MOST_EVERY_MS) {
    left += 1;
    return;
  }
  last = now;
  const more = left > 0 ? `\n${left} more since the last notification` : '';
  left = 0;
  let shown: Notification;
  try {
    // The signal's id as tag: the same signal is shown once, whatever number of pages is open.
    shown = new Notification(`${SIDES[side]} ${symbol} at ${price(at, digitsFor(symbol))}`, { body: `${strategy}: ${reason}${more}`, tag: id });
  } catch (error) {
    // Chromium on Android allows them, and then refuses to make one outside of a service worker.
    wanted.value = false;
    notifyProblem.value = `This browser makes no notifications of a page (${error instanceof Error ? error.message : error}); a webhook can tell you instead.`;
    return;
  }
  shown.onclick = () => {
    window.focus();
    shown.close();
  };
}
