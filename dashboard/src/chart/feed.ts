// What one chart shows, loaded and then kept up: candles, lines and marks of a symbol in an interval. What comes while it
// loads waits, so that nothing is missed and nothing counts twice.

import { type Signal as State, signal } from '@preact/signals';
import { get } from '../api/http';
import { subscribe, unsubscribe } from '../api/live';
import { type Bar, INTERVALS, type Interval, type Signal, type Values } from '../api/wire';
import { digitsFor, onTick } from '../market/symbols';
import { type Candle, Candles, startOf } from './candles';
import { lineId, linesOf, type Shown } from './lines';
import { Marks } from './marks';
import type { Point, PriceChart } from './price-chart';

const BARS = 500;
/** A chart that stays open for days is cut back to the newest. */
const MOST_BARS = 2_000;
const MARKS_EVERY_MS = 300;

/** From the longest to the shortest. */
const ORDER = (Object.keys(INTERVALS) as Interval[]).reverse();

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
    void this.reload();
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
    void this.loadValues();
    this.drawMarks();
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
    const [candles, marks] = await Promise.all([this.loadCandles(), this.loadMarks(), this.loadValues()]).catch(() => []);
    if (load !== this.load) return;
    if (candles && marks) {
      this.candles = candles;
      this.marks = marks;
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

  private async loadMarks(): Promise<Marks> {
    const marks = new Marks(this.interval);
    const { signals } = await get<{ signals: Signal[] }>('/v1/signals', { symbol: this.symbol, limit: 1_000 });
    for (const of of signals.reverse()) marks.add(of);
    return marks;
  }

  private async loadValues(): Promise<void> {
    const load = this.load;
    const path = `/v1/symbols/${encodeURIComponent(this.symbol)}/values`;
    const on = this.shown.filter((shown) => shown.on && shown.series.length > 0);
    await Promise.all(
      on.map(async ({ id, series }) => {
        const asked = { strategy: id, interval: this.interval, limit: BARS };
        const { values } = await get<{ values: Values[] }>(path, asked);
        if (load !== this.load) return;
        values.reverse();
        for (const { name } of series) {
          const points = new Map<number, number>();
          for (const { timestamp, series: at } of values) {
            if (at[name] !== undefined) points.set(startOf(timestamp, this.interval), at[name]);
          }
          const line = lineId(id, name);
          this.points.set(line, points);
          this.chart.setPoints(line, toPoints(points));
          this.note(line, [...points.values()].at(-1));
        }
      }),
    ).catch(() => undefined);
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

  private draw(candle: Candle | undefined): void {
    if (!candle) return;
    const isLong = this.candles.list.length > MOST_BARS;
    if (isLong) this.candles.forget(BARS);
    if (isLong || !this.chart.updateCandle(candle)) this.drawAll(false);
    if (candle.time >= (this.candle.peek()?.time ?? 0)) this.candle.value = { ...candle };
  }
}

const toPoints = (points: Map<number, number>): Point[] =>
  [...points].sort(([a], [b]) => a - b).map(([time, value]) => ({ time, value }));
