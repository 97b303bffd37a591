// The chart with what belongs to it: intervals, the strategies' lines to switch on and off, the figures under the pointer.

import { effect, signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { get } from '../api/http';
import { type Bar, INTERVALS, type Interval } from '../api/wire';
import { digitsFor } from '../market/symbols';
import { QuoteBar } from '../market/quote-bar';
import { figure, instant, price, short } from '../shell/format';
import { interval, symbol } from '../shell/place';
import { theme } from '../shell/theme';
import { explain } from '../signals/explained';
import type { Candle } from './candles';
import { ChartFeed } from './feed';
import { lineId, type Shown, shown, shownKey, toggle } from './lines';
import { PriceChart } from './price-chart';

/** So many minutes make a chart; before, seconds are shown. */
const ENOUGH_BARS = 30;

/** Older bars are loaded while there are fewer left of those that are seen. */
const SOON = 50;

const feed = signal<ChartFeed | null>(null);
/** What the pointer is at. */
const pointed = signal<{ candle: Candle | undefined; values: Map<string, number> } | null>(null);
let chart: PriceChart | undefined;

/** Moves the chart to a symbol and a time. */
export function showOnChart(of: string, time: number): void {
  symbol.value = of;
  void feed.peek()?.goTo(time);
}

export function ChartPanel() {
  return (
    <section class="chart-panel" id="chart" aria-label="Chart" tabIndex={-1}>
      <QuoteBar />
      <div class="chart-tools">
        <Intervals />
        <Legend />
      </div>
      <div class="chart-area">
        <Readout />
        <Canvas />
      </div>
    </section>
  );
}

function Intervals() {
  return (
    <div class="intervals" role="group" aria-label="Interval of a bar">
      {(Object.keys(INTERVALS) as Interval[]).map((of) => (
        <button key={of} type="button" aria-pressed={interval.value === of} onClick={() => (interval.value = of)}>
          {of}
        </button>
      ))}
    </div>
  );
}

function Legend() {
  const all = shown.value;
  return (
    <div class="legend" role="group" aria-label="Strategies on the chart">
      {all.map((of) => (
        <Chip key={of.id} of={of} />
      ))}
    </div>
  );
}

function Chip({ of: { id, colour, stroke, series, on } }: { of: Shown }) {
  const values = pointed.value?.values ?? feed.value?.newest.value;
  const texts = series.map(({ name }) => {
    const value = on ? values?.get(lineId(id, name)) : undefined;
    return value === undefined ? '–' : figure(value);
  });
  return (
    <button type="button" class="chip" aria-pressed={on} title={series.map((s) => `${s.name}: ${s.help}`).join('\n')} onClick={() => toggle(id)}>
      <span class={`swatch ${colour} ${stroke}`} aria-hidden="true" />
      {id}
      <span class="chip-values">{texts.join('  ')}</span>
    </button>
  );
}

function Readout() {
  const candle = pointed.value?.candle ?? feed.value?.candle.value;
  if (!candle) return null;
  const is = candle.close < candle.open ? 'down' : 'up';
  return (
    <p class={`readout ${is}`} aria-hidden="true">
      <span>{pointed.value?.candle ? instant(candle.time).replace('.000', '') : 'Now'}</span>
      {(['open', 'high', 'low', 'close'] as const).map((part) => (
        <span key={part}>
          <b>{part[0]?.toUpperCase()}</b> {price(candle[part], digitsFor(symbol.value))}
        </span>
      ))}
      <span>
        <b>V</b> {short(candle.volume)}
      </span>
    </p>
  );
}

const KEYS: Record<string, [bars: number, zoom: number]> = {
  ArrowLeft: [-5, 1],
  ArrowRight: [5, 1],
  '+': [0, 1.25],
  '-': [0, 0.8],
};

function Canvas() {
  const container = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!container.current) return undefined;
    const made = new PriceChart(container.current);
    chart = made;
    made.onPointer((time) => {
      pointed.value = time === null ? null : (feed.peek()?.at(time) ?? null);
    });
    made.onMark((id) => void explain(id));
    made.onScroll((left) => {
      if (left < SOON) void feed.peek()?.loadOlder();
    });
    const stops = [
      effect(() => (theme.value, made.paint())),
      effect(() => {
        const [of, bars] = [symbol.value, interval.value];
        if (!of) return undefined;
        if (!bars) return void chooseInterval(of);
        const next = new ChartFeed(made, of, bars);
        feed.value = next;
        return () => next.stop();
      }),
      effect(() => {
        // The list is made anew with each poll, and mostly the same.
        void shownKey.value;
        feed.value?.show(shown.peek());
      }),
    ];
    return () => {
      for (const stop of stops) stop();
      made.destroy();
    };
  }, []);
  return (
    <div
      ref={container}
      class="chart"
      role="application"
      aria-label={`Chart of ${symbol.value} in bars of ${interval.value}. Arrow keys scroll, plus and minus zoom.`}
      tabIndex={0}
      onKeyDown={(event) => {
        const move = KEYS[event.key];
        if (!move) return;
        event.preventDefault();
        chart?.move(...move);
      }}
    />
  );
}

async function chooseInterval(of: string): Promise<void> {
  const path = `/v1/symbols/${encodeURIComponent(of)}/bars`;
  const answer = await get<{ bars: Bar[] }>(path, { interval: '1m', limit: ENOUGH_BARS }).catch(() => ({ bars: [] }));
  interval.value ??= answer.bars.length < ENOUGH_BARS ? '1s' : '1m';
}
