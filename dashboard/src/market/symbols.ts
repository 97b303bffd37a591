// The symbols with their prices. Ticks are gathered and shown ten times a second, whatever their number: nobody reads faster, and
// the frames between are left to the chart. The figures of the session come from the service, which has seen every tick.

import { batch, type Signal, signal } from '@preact/signals';
import { get } from '../api/http';
import { subscribe } from '../api/live';
import type { Session, Side, Tick } from '../api/wire';
import { digitsOf } from '../shell/format';
import { symbol } from '../shell/place';

export interface Quote {
  readonly symbol: string;
  readonly session: Signal<Session>;
  readonly last: Signal<number>;
  readonly latest: Signal<{ side: Side; timestamp: number } | null>;
  readonly digits: number;
}

/** By symbol. */
export const quotes = signal<readonly Quote[]>([]);
/** False until the first list has come. */
export const loaded = signal(false);
/** Time of the newest tick of all, seconds since the epoch. */
export const newestTick = signal(0);

const REFRESH_MS = 5_000;
const SHOW_MS = 100;

const bySymbol = new Map<string, Quote>();
const pending = new Map<string, Tick>();
type Listener = (tick: Tick) => void;
const listeners = new Map<string, Set<Listener>>();
let showing: ReturnType<typeof setTimeout> | undefined;
let refreshing: Promise<void> | undefined;

/** Calls `listener` with the ticks of a symbol as they come; answers how to stop it. */
export function onTick(of: string, listener: Listener): () => void {
  const set = listeners.get(of) ?? new Set();
  listeners.set(of, set.add(listener));
  return () => set.delete(listener);
}

/** Digits after the point of a symbol's prices. */
export const digitsFor = (of: string) => bySymbol.get(of)?.digits ?? 2;

export const quoteOf = (of: string) => bySymbol.get(of);

export function followMarket(): void {
  subscribe('market', { types: 'tick' }, { tick: take, missed: () => void refresh() });
  void refresh();
  setInterval(() => {
    if (!document.hidden) void refresh();
  }, REFRESH_MS);
}

/** Once at a time, however many ask. */
function refresh(): Promise<void> {
  refreshing ??= load().finally(() => {
    refreshing = undefined;
  });
  return refreshing;
}

async function load(): Promise<void> {
  const { symbols } = await get<{ symbols: Session[] }>('/v1/symbols').catch(() => ({ symbols: null }));
  if (!symbols) return;
  batch(() => {
    let grew = false;
    for (const session of symbols) {
      const known = bySymbol.get(session.symbol);
      if (known) {
        known.session.value = session;
        if (!pending.has(session.symbol)) known.last.value = session.last;
      } else {
        grew = true;
        bySymbol.set(session.symbol, begin(session));
      }
    }
    if (grew) quotes.value = [...bySymbol.values()].sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
    const first = quotes.peek()[0];
    if (first && !symbol.peek()) symbol.value = first.symbol;
    loaded.value = true;
  });
}

function begin(session: Session): Quote {
  return {
    symbol: session.symbol,
    session: signal(session),
    last: signal(session.last),
    latest: signal<Quote['latest']['value']>(null),
    digits: digitsOf(session.open, session.high, session.low, session.last),
  };
}

function take(tick: Tick): void {
  pending.set(tick.symbol, tick);
  for (const listener of listeners.get(tick.symbol) ?? []) listener(tick);
  showing ??= setTimeout(show, SHOW_MS);
}

function show(): void {
  showing = undefined;
  batch(() => {
    let newest = newestTick.peek();
    for (const tick of pending.values()) {
      newest = Math.max(newest, tick.timestamp);
      const quote = bySymbol.get(tick.symbol);
      if (quote) quote.last.value = tick.close;
      else void refresh();
    }
    newestTick.value = newest;
  });
  pending.clear();
}

/** Notes the newest signal of a symbol. */
export function noteSignal(of: string, side: Side, timestamp: number): void {
  const latest = bySymbol.get(of)?.latest;
  if (latest && (latest.peek()?.timestamp ?? 0) <= timestamp) latest.value = { side, timestamp };
}
