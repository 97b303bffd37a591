// What the page shows, as it stands in its address, so that a reload or a bookmark shows the same.

import { effect, signal } from '@preact/signals';
import { INTERVALS, type Interval } from '../api/wire';

export const PANELS = ['signals', 'strategies', 'plugins', 'webhooks', 'health'] as const;
export type Panel = (typeof PANELS)[number];

/** The symbol that the chart shows; empty until there is one. */
export const symbol = signal('');
/** The chart's bars; null until what is there decides. */
export const interval = signal<Interval | null>(null);
export const panel = signal<Panel>('signals');

function read(): void {
  const [of = '', bars = '', tab = ''] = decodeURIComponent(location.hash.slice(2)).split('/');
  if (of) symbol.value = of;
  if (bars in INTERVALS) interval.value = bars as Interval;
  if (PANELS.includes(tab as Panel)) panel.value = tab as Panel;
}

read();
window.addEventListener('hashchange', read);
effect(() => {
  if (!symbol.value) return;
  const hash = `#/${encodeURIComponent(symbol.value)}/${interval.value ?? ''}/${panel.value}`;
  history.replaceState(null, '', hash);
  document.title = `${symbol.value} · Wigwag`;
});
