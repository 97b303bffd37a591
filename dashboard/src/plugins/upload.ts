// The upload of a plugin: chosen, or dropped anywhere on the page. What takes the service longer is asked for until it is known.

import { signal } from '@preact/signals';
import { type Answer, Problem, request } from '../api/http';
import { withToken } from '../api/session';
import type { UploadStatus } from '../api/wire';
import { tell } from '../shell/notice';
import { panel } from '../shell/place';
import { refreshPlugins } from './list';

interface Upload {
  file: string;
  size: number;
  /** None while it is on its way. */
  answer: Answer | null;
}

const ASK_EVERY_MS = 1_000;
/** So often in a row the service may fail to answer. */
const FAILURES = 60;

export const upload = signal<Upload | null>(null);
/** Whether a file is held over the page. */
export const hovering = signal(false);

/** Uploads a file, after asking for a token where there is none. */
export function take(files: FileList | null | undefined): void {
  const file = files?.[0];
  if (!file) return;
  if (files.length > 1) tell(`Plugins are taken one by one: ${file.name} is, the others are not.`, 'warn');
  withToken(() => void send(file));
}

/** Takes files that are dropped, wherever that is. */
export function followDrops(): void {
  const isFile = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
  document.addEventListener('dragover', (event) => {
    if (!isFile(event)) return;
    // Else the browser would leave the page and open the file.
    event.preventDefault();
    hovering.value = true;
  });
  document.addEventListener('dragleave', (event) => {
    // From one element to the next there is one to go to.
    if (event.relatedTarget === null) hovering.value = false;
  });
  document.addEventListener('drop', (event) => {
    hovering.value = false;
    if (!isFile(event)) return;
    event.preventDefault();
    panel.value = 'plugins';
    take(event.dataTransfer?.files);
  });
}

async function send(file: File): Promise<void> {
  const told = { file: file.name, size: file.size };
  const begun: Upload = { ...told, answer: null };
  upload.value = begun;
  let answer: Answer;
  try {
    answer = await request('POST', '/v1/plugins', { body: file, headers: { 'Content-Type': 'application/wasm' } });
  } catch (error) {
    answer = { status: 0, statusText: (error as Problem).message, location: null, body: null };
  }
  // Another may have been sent meanwhile, or this one dismissed.
  if (upload.peek() === begun) await follow({ ...told, answer });
  await refreshPlugins();
}

/** Shows an upload, and what becomes of it as long as it is shown. */
async function follow(first: Upload): Promise<void> {
  let shown = first;
  upload.value = shown;
  const status = first.answer?.status === 202 ? first.answer.location : null;
  for (let failures = 0; status !== null && failures < FAILURES; ) {
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
    if (upload.peek() !== shown) return;
    const answer = await request('GET', status).catch(() => null);
    if (upload.peek() !== shown) return;
    if (answer === null || answer.status >= 500) {
      failures += 1;
      continue;
    }
    failures = 0;
    shown = { ...shown, answer };
    upload.value = shown;
    if ((answer.body as UploadStatus | null)?.state !== 'working') return;
  }
}
