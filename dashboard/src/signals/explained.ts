// The signal that is explained, if any.

import { signal } from '@preact/signals';
import { get, Problem } from '../api/http';
import type { Signal } from '../api/wire';
import { tell } from '../shell/notice';

export const explained = signal<Signal | null>(null);

/** Shows a signal as the service has it; `known` at once. */
export async function explain(id: string, known?: Signal): Promise<void> {
  if (known) explained.value = known;
  try {
    explained.value = await get<Signal>(`/v1/signals/${encodeURIComponent(id)}`);
  } catch (error) {
    if (error instanceof Problem) tell(error.message, 'warn');
  }
}
