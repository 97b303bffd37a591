// Signals as marks on a chart: one a bar, on the side of most of its signals and larger where they are many, so that the bars
// of a busy strategy stay legible. The table has each signal.

import type { Interval, Side, Signal } from '../api/wire';
import { startOf } from './candles';

export interface Mark {
  time: number;
  side: Side;
  /** By how many signals that side leads. */
  count: number;
  /** The newest signal of that side. */
  id: string;
}

interface Opinion {
  buy: number;
  sell: number;
  newest: { [side in Side]?: { id: string; timestamp: number } };
  last: { side: Side; timestamp: number };
}

/** As many bars as a chart has at most. */
const KEPT = 12_000;

export class Marks {
  /** Opinions by bar and strategy. */
  private readonly bars = new Map<number, Map<string, Opinion>>();
  private readonly seen = new Set<string>();
  private readonly interval: Interval;

  constructor(interval: Interval) {
    this.interval = interval;
  }

  add({ id, side, strategy, timestamp }: Signal): void {
    if (this.seen.has(id)) return;
    this.seen.add(id);
    const time = startOf(timestamp, this.interval);
    const bar = this.bars.get(time) ?? new Map<string, Opinion>();
    this.bars.set(time, bar);
    const opinion: Opinion = bar.get(strategy) ?? { buy: 0, sell: 0, newest: {}, last: { side, timestamp } };
    opinion[side] += 1;
    // Older ones may be loaded after newer ones.
    if (timestamp >= (opinion.newest[side]?.timestamp ?? timestamp)) opinion.newest[side] = { id, timestamp };
    if (timestamp >= opinion.last.timestamp) opinion.last = { side, timestamp };
    bar.set(strategy, opinion);
    if (this.bars.size > KEPT) this.forgetOldest();
  }

  /** Those of some strategies, oldest first. */
  of(strategies: ReadonlySet<string>): Mark[] {
    const marks: Mark[] = [];
    for (const [time, bar] of this.bars) {
      const opinions = [...bar].flatMap(([strategy, opinion]) => (strategies.has(strategy) ? [opinion] : []));
      const lead = opinions.reduce((sum, { buy, sell }) => sum + buy - sell, 0);
      const side = lead > 0 ? 'buy' : lead < 0 ? 'sell' : opinions.at(-1)?.last.side;
      const id = side && opinions.findLast(({ newest }) => newest[side])?.newest[side]?.id;
      if (side && id) marks.push({ time, side, count: Math.max(1, Math.abs(lead)), id });
    }
    return marks.sort((a, b) => a.time - b.time);
  }

  private forgetOldest(): void {
    const oldest = [...this.bars.keys()].sort((a, b) => a - b).slice(0, KEPT / 4);
    for (const time of oldest) this.bars.delete(time);
    this.seen.clear();
  }
}
