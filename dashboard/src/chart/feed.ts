// What one chart shows, loaded and then kept up: candles, lines and marks of a symbol in an interval. What comes while it
// loads waits, so that nothing is missed and nothing counts twice.

import { type Signal as State, signal } from '@preact/signals';
import { get } from '../api/http';
import { subscribe, unsubscribe } from '../api/live';
import { type Bar, INTERVALS, type Interval, type Signal, type Values } from '../api/wire';
import { digitsFor, onTick } from '../market/symbols';
import { tell } from '../shell/notice';
import { type Candle, candleOf, Candles, startOf } from './candles';
import { lineId, linesOf, type Shown } from './lines';
import { Marks } from './marks';
import type { Point, PriceChart } from './price-chart';

const BARS = 500;
/** A chart that stays open for days is cut back to the newest, unless one looks at older ones. */
const MOST_BARS = 2_000;
/** As far back as a chart goes. */
const OLDEST_BARS = 12_000;
/** The most that the service answers at once. */
const PAGE = 1_000;
/** So many pages of signals at once are enough to mark what is seen. */
const MARK_PAGES = 5;
const MARKS_EVERY_MS = 300;

/** From the longest to the shortest. */
const ORDER = (Object.keys(INTERVALS) as Interval[]).reverse();

interface SignalsPage {
  signals: Signal[];
  next_cursor: string | null;
}

export class ChartFeed {
  /** The newest candle, and the newest value of each line. */
  readonly candle: State<Candle | null> = signal(null);
  readonly newest: State<ReadonlyMap<string, number>> = signal(new Map());

  private readonly chart: PriceChart;
  private readonly symbol: string;
  private readonly interval: Interval;
  private candles: Candles;
  private marks: Marks;
  private readonly points = new Map<string, Map<number, number>>();
  private shown: Shown[] = [];
  private waiting: (() => void)[] | null = [];
  private load = 0;
  private readonly loaded: Promise<void>;
  private loadingOlder: Promise<void> | null = null;
  /** Nothing is older than the oldest candle. */
  private complete = false;
  /** Signals are loaded from this time on, or down to the place of this cursor. */
  private marked: { until: number } | { cursor: string } = { until: Number.NEGATIVE_INFINITY };
  private readonly stopTicks: () => void;
  private marksDue: ReturnType<typeof setTimeout> | undefined;

  constructor(chart: PriceChart, symbol: string, interval: Interval) {
    this.chart = chart;
    this.symbol = symbol;
    this.interval = interval;
    this.candles = new Candles(interval);
    this.marks = new Marks(interval);
    chart.setMarks([]);
    chart.setLines([]);
    const handlers = {
      bar: (bar: Bar) => this.soon(() => this.draw(this.candles.take(bar))),
      value: (values: Values) => this.soon(() => this.takeValues(values)),
      signal: (of: Signal) => this.soon(() => this.takeSignal(of)),
      missed: () => void this.reload(),
    };
    subscribe('chart', { types: 'signal,value,bar', symbol }, handlers);
    this.stopTicks = onTick(symbol, (tick) => this.soon(() => this.draw(this.candles.tick(tick))));
    this.loaded = this.reload();
  }

  stop(): void {
    this.load += 1;
    this.stopTicks();
    clearTimeout(this.marksDue);
    unsubscribe('chart');
  }

  /** Shows these strategies' lines and marks. */
  show(shown: Shown[]): void {
    this.shown = shown;
    this.chart.setLines(linesOf(shown));
    void this.loadValues(this.candles.list[0]?.time);
    this.drawMarks();
  }

  /** Loads what lies before the oldest candle, where there is any. */
  loadOlder(limit = BARS): Promise<void> {
    const first = this.candles.list[0];
    if (this.waiting || this.complete || !first || this.candles.list.length >= OLDEST_BARS) return Promise.resolve();
    this.loadingOlder ??= this.prepend(first.time, limit)
      .catch(() => undefined)
      .finally(() => {
        this.loadingOlder = null;
      });
    return this.loadingOlder;
  }

  /** Moves to a time, back to which candles are loaded first. */
  async goTo(time: number): Promise<void> {
    const load = this.load;
    const wanted = startOf(time, this.interval);
    await this.loaded;
    const oldest = () => this.candles.list[0]?.time ?? Number.POSITIVE_INFINITY;
    for (let had = -1; oldest() > wanted && had < this.candles.list.length; ) {
      had = this.candles.list.length;
      await this.loadOlder(PAGE);
    }
    if (load !== this.load) return;
    this.chart.show(wanted);
    if (oldest() > wanted) tell(`Bars of ${this.interval} do not go back to that signal; choose a longer interval.`, 'warn');
  }

  /** The candle and the values of lines at a time of the chart. */
  at(time: number): { candle: Candle | undefined; values: Map<string, number> } {
    const values = new Map<string, number>();
    for (const [id, points] of this.points) {
      const value = points.get(time);
      if (value !== undefined) values.set(id, value);
    }
    return { candle: this.candles.list.find((candle) => candle.time === time), values };
  }

  /** Does it now, or once all is loaded. */
  private soon(act: () => void): void {
    if (this.waiting) this.waiting.push(act);
    else act();
  }

  private async reload(): Promise<void> {
    this.load += 1;
    const load = this.load;
    this.waiting ??= [];
    const from = this.candles.list[0]?.time;
    const [candles, marks] = await Promise.all([this.loadCandles(), this.loadMarks(), this.loadValues(from)]).catch(() => []);
    if (load !== this.load) return;
    if (candles && marks) {
      const first = candles.list[0]?.time;
      const kept = this.candles.list.findIndex(({ time }) => time === first);
      if (kept > 0) candles.prepend(this.candles.list.slice(0, kept));
      this.candles = candles;
      this.marks = marks.marks;
      this.marked = marks.marked;
      if (kept > 0) void this.loadOlderMarks(load).catch(() => undefined);
      const last = candles.list.at(-1);
      this.drawAll(load === 1);
      this.candle.value = last ? { ...last } : null;
      this.drawMarks();
    }
    const waiting = this.waiting ?? [];
    this.waiting = null;
    for (const act of waiting) act();
  }

  /** Closed bars, and then shorter and shorter ones for what is open. */
  private async loadCandles(): Promise<Candles> {
    const candles = new Candles(this.interval);
    for (const interval of ORDER.slice(ORDER.indexOf(this.interval))) {
      const since = Number.isFinite(candles.end) ? candles.end : undefined;
      const path = `/v1/symbols/${encodeURIComponent(this.symbol)}/bars`;
      const limit = interval === this.interval ? BARS : 1_000;
      const { bars } = await get<{ bars: Bar[] }>(path, { interval, since, limit });
      candles.load(bars.reverse());
    }
    return candles;
  }

  private async loadMarks(): Promise<{ marks: Marks; marked: ChartFeed['marked'] }> {
    const marks = new Marks(this.interval);
    const { signals, next_cursor: cursor } = await get<SignalsPage>('/v1/signals', { symbol: this.symbol, limit: PAGE });
    for (const of of signals.reverse()) marks.add(of);
    return { marks, marked: cursor === null ? { until: Number.NEGATIVE_INFINITY } : { cursor } };
  }

  private async prepend(until: number, limit: number): Promise<void> {
    const load = this.load;
    const path = `/v1/symbols/${encodeURIComponent(this.symbol)}/bars`;
    const { bars } = await get<{ bars: Bar[] }>(path, { interval: this.interval, until, limit });
    if (load !== this.load) return;
    this.complete = bars.length < limit;
    if (bars.length === 0) return;
    this.candles.prepend(bars.reverse().map(candleOf));
    this.drawAll(false);
    await Promise.all([this.loadValues(this.candles.list[0]?.time, until), this.loadOlderMarks(load)]);
  }

  /** Loads signals back to the oldest candle. */
  private async loadOlderMarks(load: number): Promise<void> {
    const since = this.candles.list[0]?.time;
    for (let page = 0; page < MARK_PAGES && since !== undefined; page += 1) {
      if ('until' in this.marked && this.marked.until <= since) break;
      const asked = { symbol: this.symbol, since, limit: PAGE, ...this.marked };
      const { signals, next_cursor: cursor } = await get<SignalsPage>('/v1/signals', asked);
      if (load !== this.load) return;
      for (const of of signals.reverse()) this.marks.add(of);
      this.marked = cursor === null ? { until: since } : { cursor };
    }
    this.drawMarks();
  }

  /** Loads the lines' points of some time; without `since` as many as there are candles at first. */
  private async loadValues(since?: number, until?: number): Promise<void> {
    const load = this.load;
    const on = this.shown.filter((shown) => shown.on && shown.series.length > 0);
    await Promise.all(
      on.map(async ({ id, series }) => {
        const values = await this.valuesOf(id, since, until);
        if (load !== this.load) return;
        for (const { name } of series) {
          const line = lineId(id, name);
          const points = new Map(this.points.get(line));
          for (const { timestamp, series: at } of values) {
            if (at[name] !== undefined) points.set(startOf(timestamp, this.interval), at[name]);
          }
          this.points.set(line, points);
          const drawn = toPoints(points);
          this.chart.setPoints(line, drawn);
          this.note(line, drawn.at(-1)?.value);
        }
      }),
    ).catch(() => undefined);
  }

  /** Oldest first. */
  private async valuesOf(strategy: string, since?: number, until?: number): Promise<Values[]> {
    const path = `/v1/symbols/${encodeURIComponent(this.symbol)}/values`;
    const limit = since === undefined ? BARS : PAGE;
    const all: Values[] = [];
    for (let below = until; ; ) {
      const { values } = await get<{ values: Values[] }>(path, { strategy, interval: this.interval, since, until: below, limit });
      all.push(...values);
      const oldest = values.at(-1);
      if (since === undefined || values.length < limit || !oldest) return all.reverse();
      below = startOf(oldest.timestamp, this.interval);
    }
  }

  private takeValues({ strategy, timestamp, series }: Values): void {
    const time = startOf(timestamp, this.interval);
    for (const [name, value] of Object.entries(series)) {
      const line = lineId(strategy, name);
      const points = this.points.get(line);
      if (!points) continue;
      points.set(time, value);
      this.chart.updatePoint(line, { time, value });
      this.note(line, value);
    }
  }

  private note(line: string, value: number | undefined): void {
    if (value !== undefined) this.newest.value = new Map(this.newest.peek()).set(line, value);
  }

  private takeSignal(of: Signal): void {
    this.marks.add(of);
    this.marksDue ??= setTimeout(() => this.drawMarks(), MARKS_EVERY_MS);
  }

  private drawMarks(): void {
    clearTimeout(this.marksDue);
    this.marksDue = undefined;
    const first = this.candles.list[0]?.time ?? 0;
    const on = new Set(this.shown.filter((shown) => shown.on).map(({ id }) => id));
    this.chart.setMarks(this.marks.of(on).filter((mark) => mark.time >= first));
  }

  private drawAll(toNewest: boolean): void {
    this.chart.setCandles(this.candles.list, digitsFor(this.symbol), toNewest);
  }

  private forget(): void {
    this.candles.forget(BARS);
    this.complete = false;
    const first = this.candles.list[0]?.time ?? 0;
    for (const points of this.points.values()) {
      for (const time of points.keys()) if (time < first) points.delete(time);
    }
  }

  private draw(candle: Candle | undefined): void {
    if (!candle) return;
    const count = this.candles.list.length;
    const isLong = count > MOST_BARS && this.chart.left > count - BARS && !this.loadingOlder;
    if (isLong) this.forget();
    if (isLong || !this.chart.updateCandle(candle)) this.drawAll(false);
    if (candle.time >= (this.candle.peek()?.time ?? 0)) this.candle.value = { ...candle };
  }
}

const toPoints = (points: Map<number, number>): Point[] =>
  [...points].sort(([a], [b]) => a - b).map(([time, value]) => ({ time, value }));
