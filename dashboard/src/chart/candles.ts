// The candles of one interval: closed bars as the service has them, and the one that is open, made of shorter closed bars and
// of the ticks since. Ticks may be conflated on their way; a closed second puts right what they left out.

import { type Bar, INTERVALS, type Interval, type Tick } from '../api/wire';

export interface Candle {
  /** Start of the interval, seconds since the epoch. */
  time: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

export const startOf = (time: number, interval: Interval) => Math.floor(time / INTERVALS[interval]) * INTERVALS[interval];

export const candleOf = ({ open_time: time, open, high, low, close, volume }: Bar): Candle => ({ time, open, high, low, close, volume });

export class Candles {
  /** Oldest first. */
  readonly list: Candle[] = [];
  private readonly interval: Interval;
  /** End of the newest bar that was summed up. */
  private until = Number.NEGATIVE_INFINITY;

  constructor(interval: Interval) {
    this.interval = interval;
  }

  /** Takes bars in, each later than those before: of this interval, or shorter ones of the candle that is open. */
  load(bars: readonly Bar[]): void {
    for (const bar of bars) {
      if (bar.interval === this.interval) this.close(bar);
      else this.sumUp(bar);
    }
  }

  /** The candle that a closed bar makes or changes; none where it tells nothing new. */
  take(bar: Bar): Candle | undefined {
    if (bar.interval === this.interval) return this.close(bar);
    return bar.interval === '1s' ? this.sumUp(bar) : undefined;
  }

  /** The candle that a tick makes or changes; none where its bar is closed. */
  tick(tick: Tick): Candle | undefined {
    const time = startOf(tick.timestamp, this.interval);
    const last = this.list.at(-1);
    if (last && time < last.time) return undefined;
    // The volume of ticks that were left out is not known before their second is closed.
    const volume = this.interval === '1s' ? tick.volume : 0;
    return this.add({ ...tick, time, volume });
  }

  /** Takes in what lies before all that is there, oldest first. */
  prepend(older: readonly Candle[]): void {
    this.list.splice(0, 0, ...older);
  }

  /** End of the newest bar, where the next is to go on. */
  get end(): number {
    return this.until;
  }

  /** Forgets all but the newest. */
  forget(but: number): void {
    this.list.splice(0, Math.max(0, this.list.length - but));
  }

  private close(bar: Bar): Candle {
    const candle = candleOf(bar);
    const { time } = candle;
    this.until = Math.max(this.until, time + INTERVALS[bar.interval]);
    const at = this.list.findLastIndex((other) => other.time <= time);
    if (this.list[at]?.time === time) this.list[at] = candle;
    else this.list.splice(at + 1, 0, candle);
    return candle;
  }

  private sumUp(bar: Bar): Candle | undefined {
    if (bar.open_time < this.until) return undefined;
    this.until = bar.open_time + INTERVALS[bar.interval];
    return this.add({ ...bar, time: startOf(bar.open_time, this.interval) });
  }

  private add({ time, open, high, low, close, volume }: Candle): Candle | undefined {
    const last = this.list.at(-1);
    if (last && time < last.time) return undefined;
    if (last?.time !== time) {
      const candle = { time, open, high, low, close, volume };
      this.list.push(candle);
      return candle;
    }
    last.high = Math.max(last.high, high);
    last.low = Math.min(last.low, low);
    last.close = close;
    last.volume += volume;
    return last;
  }
}
