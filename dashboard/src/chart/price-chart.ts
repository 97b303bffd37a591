// The drawing: candles with their volume, lines over them or in panes of their own, and marks. Knows the charting library, and
// nothing of where the numbers come from.

import {
  CandlestickSeries,
  createChart,
  createSeriesMarkers,
  CrosshairMode,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  LineSeries,
  LineStyle,
  type MouseEventParams,
  type Time,
  type UTCTimestamp,
} from 'lightweight-charts';
import { colour } from '../shell/theme';
import type { Candle } from './candles';
import type { Mark } from './marks';

export type Stroke = 'solid' | 'dashed' | 'dotted';

export interface Line {
  id: string;
  /** Over the price, or the name of a pane of its own. */
  pane: string | null;
  /** Name of a colour of the style sheet. */
  colour: string;
  stroke: Stroke;
}

export interface Point {
  time: number;
  value: number;
}

interface Drawn {
  line: Line;
  series: ISeriesApi<'Line'>;
  lastTime: number;
}

const STROKES = { solid: LineStyle.Solid, dashed: LineStyle.Dashed, dotted: LineStyle.Dotted } as const;

const utc = (time: number) => time as UTCTimestamp;

/** Of the price's pane, to that of another. */
const PRICE_STRETCH = 3.2;

export class PriceChart {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<'Candlestick'>;
  private readonly volume: ISeriesApi<'Histogram'>;
  private readonly marks: ISeriesMarkersPluginApi<Time>;
  private lines = new Map<string, Drawn>();
  private times = new Set<number>();
  private lastTime = 0;

  constructor(container: HTMLElement) {
    this.chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false, fontFamily: 'system-ui, sans-serif', fontSize: 11, panes: { enableResize: true } },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { borderVisible: false },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: true, rightOffset: 4, barSpacing: 8 },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { priceLineStyle: LineStyle.Dotted });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: 'volume',
      priceFormat: { type: 'volume' },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.chart.priceScale('volume').applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.18 } });
    this.marks = createSeriesMarkers(this.candles, []);
    this.paint();
  }

  destroy(): void {
    this.chart.remove();
  }

  /** Takes the colours of the style sheet as they are now. */
  paint(): void {
    const line = colour('line');
    this.chart.applyOptions({
      layout: {
        background: { color: colour('panel') },
        textColor: colour('muted'),
        panes: { separatorColor: line, separatorHoverColor: colour('raised') },
      },
      grid: { vertLines: { color: colour('grid') }, horzLines: { color: colour('grid') } },
      crosshair: {
        vertLine: { color: colour('faint'), labelBackgroundColor: colour('chip') },
        horzLine: { color: colour('faint'), labelBackgroundColor: colour('chip') },
      },
    });
    // Rising candles are hollow: the shape tells, and not the colour alone.
    this.candles.applyOptions({
      upColor: colour('panel'),
      borderUpColor: colour('up'),
      wickUpColor: colour('up'),
      downColor: colour('down'),
      borderDownColor: colour('down'),
      wickDownColor: colour('down'),
    });
    this.volume.applyOptions({ color: colour('volume') });
    for (const { line, series } of this.lines.values()) series.applyOptions({ color: colour(line.colour) });
  }

  setCandles(candles: readonly Candle[], digits: number, toNewest: boolean): void {
    this.candles.applyOptions({ priceFormat: { type: 'price', precision: digits, minMove: 10 ** -digits } });
    this.candles.setData(candles.map((candle) => ({ ...candle, time: utc(candle.time) })));
    this.volume.setData(candles.map(({ time, volume }) => ({ time: utc(time), value: volume })));
    this.times = new Set(candles.map(({ time }) => time));
    this.lastTime = candles.at(-1)?.time ?? 0;
    if (toNewest) this.chart.timeScale().scrollToRealTime();
  }

  /** Draws a candle that is new or changed; false where it belongs between others, and all must be set anew. */
  updateCandle(candle: Candle): boolean {
    const isOld = candle.time < this.lastTime;
    if (isOld && !this.times.has(candle.time)) return false;
    this.candles.update({ ...candle, time: utc(candle.time) }, isOld);
    this.volume.update({ time: utc(candle.time), value: candle.volume }, isOld);
    this.times.add(candle.time);
    this.lastTime = Math.max(this.lastTime, candle.time);
    return true;
  }

  /** Draws exactly these lines, in this order of panes; their points come by `setPoints`. */
  setLines(lines: readonly Line[]): void {
    for (const { series } of this.lines.values()) this.chart.removeSeries(series);
    this.lines = new Map();
    const panes: string[] = [];
    for (const line of lines) {
      if (line.pane !== null && !panes.includes(line.pane)) panes.push(line.pane);
      const pane = line.pane === null ? 0 : panes.indexOf(line.pane) + 1;
      const options = {
        color: colour(line.colour),
        lineWidth: 2 as const,
        lineStyle: STROKES[line.stroke],
        priceLineVisible: false,
        crosshairMarkerRadius: 3,
        // Over the price, labels would stand in each other's way; the legend has the values.
        lastValueVisible: line.pane !== null,
      };
      this.lines.set(line.id, { line, series: this.chart.addSeries(LineSeries, options, pane), lastTime: 0 });
    }
    for (const [at, pane] of this.chart.panes().entries()) pane.setStretchFactor(at === 0 ? PRICE_STRETCH : 1);
  }

  setPoints(id: string, points: readonly Point[]): void {
    const drawn = this.lines.get(id);
    if (!drawn) return;
    drawn.series.setData(points.map(({ time, value }) => ({ time: utc(time), value })));
    drawn.lastTime = points.at(-1)?.time ?? 0;
  }

  /** Adds or changes the newest point of a line. */
  updatePoint(id: string, { time, value }: Point): void {
    const drawn = this.lines.get(id);
    if (!drawn || time < drawn.lastTime) return;
    drawn.series.update({ time: utc(time), value });
    drawn.lastTime = time;
  }

  setMarks(marks: readonly Mark[]): void {
    const up = colour('up');
    const down = colour('down');
    this.marks.setMarkers(
      marks.map(({ time, side, count, id }) => ({
        time: utc(time),
        id,
        position: side === 'buy' ? 'belowBar' : 'aboveBar',
        shape: side === 'buy' ? 'arrowUp' : 'arrowDown',
        color: side === 'buy' ? up : down,
        size: 0.5 + Math.min(count, 6) * 0.1,
      })),
    );
  }

  /** Tells the time under the pointer; null where there is none. */
  onPointer(tell: (time: number | null) => void): void {
    this.chart.subscribeCrosshairMove(({ time }) => tell(time === undefined ? null : Number(time)));
  }

  /** Tells the id of a mark that is clicked. */
  onMark(tell: (id: string) => void): void {
    this.chart.subscribeClick(({ hoveredObjectId }: MouseEventParams) => {
      if (typeof hoveredObjectId === 'string' && hoveredObjectId !== '') tell(hoveredObjectId);
    });
  }

  /** Moves a time into the middle, where the chart has it. */
  show(time: number): void {
    const scale = this.chart.timeScale();
    const at = scale.timeToIndex(utc(time), true);
    const range = scale.getVisibleLogicalRange();
    if (at === null || !range) return;
    const half = (range.to - range.from) / 2;
    scale.setVisibleLogicalRange({ from: at - half, to: at + half });
  }

  /** Tells how many bars there are left of those that are seen, as that changes; below zero where nothing is left. */
  onScroll(tell: (left: number) => void): void {
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => range && tell(range.from));
  }

  /** How many bars there are left of those that are seen. */
  get left(): number {
    return this.chart.timeScale().getVisibleLogicalRange()?.from ?? 0;
  }

  /** Scrolls by so many bars; zooms by a factor. */
  move(bars: number, zoom = 1): void {
    const scale = this.chart.timeScale();
    if (zoom !== 1) scale.applyOptions({ barSpacing: scale.options().barSpacing * zoom });
    if (bars !== 0) scale.scrollToPosition(scale.scrollPosition() + bars, false);
  }
}
