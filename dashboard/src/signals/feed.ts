// The newest signals that pass the filter. A busy market makes more than anybody reads, so the table takes in what came a few
// times a second, and stands still while somebody points at it or is in it with the keyboard.

import { batch, computed, effect, signal } from '@preact/signals';
import { get } from '../api/http';
import { subscribe } from '../api/live';
import type { Side, Signal } from '../api/wire';
import { noteSignal } from '../market/symbols';
import { symbol } from '../shell/place';
import { notify } from './notify';

export interface Filter {
  strategy: string;
  side: '' | Side;
  /** Only of the symbol that the chart shows. */
  onlyCharted: boolean;
  minStrength: number;
}

const KEPT = 100;
const SHOW_EVERY_MS = 500;

export const filter = signal<Filter>({ strategy: '', side: '', onlyCharted: false, minStrength: 0 });
export const rows = signal<readonly Signal[]>([]);
/** Signals that came while the table stood still. */
export const waiting = signal(0);
/** Whether it stands still: somebody reads, or asked for it. */
export const paused = signal(false);
export const reading = signal(false);

const held = computed(() => paused.value || reading.value);
const charted = computed(() => (filter.value.onlyCharted ? symbol.value : ''));
/** What the stream is filtered by, as text: it is compared. The list is filtered by strength too. */
const asked = computed(() => {
  const { strategy, side } = filter.value;
  return JSON.stringify({ strategy, side, symbol: charted.value });
});

let fresh: Signal[] = [];
/** More came at once than the table holds: what lies between is loaded. */
let overflowed = false;
let load = 0;

export function followSignals(): void {
  effect(() => {
    const { strategy, side, symbol: of } = JSON.parse(asked.value);
    const wanted = { types: 'signal', ...(of && { symbol: of }), ...(strategy && { strategy }), ...(side && { side }) };
    subscribe('signals', wanted, { signal: take, missed: () => void reload() });
  });
  effect(() => {
    void asked.value;
    void filter.value.minStrength;
    // What came for another filter goes at once.
    fresh = fresh.filter(passes);
    rows.value = rows.peek().filter(passes);
    void reload();
  });
  effect(() => {
    if (!held.value) show();
  });
  setInterval(show, SHOW_EVERY_MS);
}

async function reload(): Promise<void> {
  load += 1;
  const mine = load;
  const wanted = { ...JSON.parse(asked.peek()), min_strength: filter.peek().minStrength || null, limit: KEPT };
  const answer = await get<{ signals: Signal[] }>('/v1/signals', wanted).catch(() => null);
  if (!answer || mine !== load) return;
  batch(() => {
    rows.value = answer.signals.filter(passes);
    for (const of of [...answer.signals].reverse()) noteSignal(of.symbol, of.side, of.timestamp);
  });
}

function passes(of: Signal): boolean {
  const { strategy, side, minStrength } = filter.peek();
  const only = charted.peek();
  return (
    of.strength >= minStrength &&
    (strategy === '' || of.strategy === strategy) &&
    (side === '' || of.side === side) &&
    (only === '' || of.symbol === only)
  );
}

function take(of: Signal): void {
  if (!passes(of)) return;
  fresh.push(of);
  if (fresh.length > 2 * KEPT) {
    overflowed = true;
    fresh = [];
  }
  notify(of);
}

function show(): void {
  if (fresh.length === 0 && !overflowed) return;
  if (held.peek()) {
    waiting.value = overflowed ? KEPT : fresh.length;
    return;
  }
  if (overflowed) {
    overflowed = false;
    void reload();
  }
  batch(() => {
    for (const of of fresh) noteSignal(of.symbol, of.side, of.timestamp);
    // What was loaded meanwhile may have come over the stream too.
    const known = new Set(rows.peek().map(({ id }) => id));
    const added = fresh.filter(({ id }) => !known.has(id)).reverse();
    // A partition that catches up tells of what is older than what stands there.
    const all = [...added, ...rows.peek()].sort((a, b) => b.timestamp - a.timestamp);
    rows.value = all.slice(0, KEPT);
    waiting.value = 0;
    fresh = [];
  });
}
