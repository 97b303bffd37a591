// Notifications of the browser for signals that pass the filter, where they were asked for. Many at once become one.

import { signal } from '@preact/signals';
import type { Signal } from '../api/wire';
import { digitsFor } from '../market/symbols';
import { price, SIDES } from '../shell/format';

const AT_MOST_EVERY_MS = 5_000;

export const notifying = signal(false);
/** Why they cannot be had. */
export const notifyProblem = signal('');

let last = Number.NEGATIVE_INFINITY;
let left = 0;

export async function toggleNotifications(): Promise<void> {
  notifyProblem.value = '';
  if (notifying.peek()) {
    notifying.value = false;
    return;
  }
  if (!('Notification' in window)) {
    notifyProblem.value = 'This browser shows no notifications.';
  } else if ((await Notification.requestPermission()) === 'granted') {
    notifying.value = true;
  } else {
    notifyProblem.value = 'The browser does not allow notifications from this page; allow them in its settings.';
  }
}

export function notify({ id, symbol, side, price: at, strategy, reason }: Signal): void {
  if (!notifying.peek()) return;
  const now = performance.now();
  if (now - last < AT_MOST_EVERY_MS) {
    left += 1;
    return;
  }
  last = now;
  const more = left > 0 ? `\n${left} more since the last notification` : '';
  left = 0;
  // The signal's id as tag: the same signal is shown once, whatever number of pages is open.
  new Notification(`${SIDES[side]} ${symbol} at ${price(at, digitsFor(symbol))}`, { body: `${strategy}: ${reason}${more}`, tag: id });
}
