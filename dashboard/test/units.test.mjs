// What can be judged without a browser: candles, marks, the service's numbers. The modules are those of the page, as Vite
// compiles them.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createServer } from 'vite';

const vite = await createServer({ server: { middlewareMode: true, hmr: false, ws: false }, appType: 'custom', logLevel: 'error' });
after(() => vite.close());

/** @type {typeof import('../src/chart/candles')} */
const { candleOf, Candles } = /** @type {any} */ (await vite.ssrLoadModule('/src/chart/candles.ts'));
/** @type {typeof import('../src/chart/marks')} */
const { Marks } = /** @type {any} */ (await vite.ssrLoadModule('/src/chart/marks.ts'));
/** @type {typeof import('../src/health/exposition')} */
const { hasAny, parse, quantile, rate, total } = /** @type {any} */ (await vite.ssrLoadModule('/src/health/exposition.ts'));
/** @type {typeof import('../src/shell/format')} */
const format = /** @type {any} */ (await vite.ssrLoadModule('/src/shell/format.ts'));

/** @param {import('../src/api/wire').Interval} interval @param {number} open_time @param {number} price */
const bar = (interval, open_time, price, volume = 1) => ({
  symbol: 'A',
  interval,
  open_time,
  open: price,
  high: price + 1,
  low: price - 1,
  close: price + 0.5,
  volume,
});
/** @param {number} timestamp @param {number} close */
const tick = (timestamp, close) => ({ symbol: 'A', timestamp, open: close, high: close, low: close, close, volume: 1 });

test('the open candle is the sum of shorter bars and of the ticks since', () => {
  const candles = new Candles('1m');
  candles.load([bar('1m', 0, 10), bar('1s', 60, 20), bar('1s', 61, 30)]);
  assert.deepEqual(candles.list.at(-1), { time: 60, open: 20, high: 31, low: 19, close: 30.5, volume: 2 });
  candles.tick(tick(62.5, 50));
  assert.deepEqual(candles.list.at(-1), { time: 60, open: 20, high: 50, low: 19, close: 50, volume: 2 });
  // The closed second knows of the ticks that were left out on their way.
  candles.take(bar('1s', 62, 50));
  assert.deepEqual(candles.list.at(-1), { time: 60, open: 20, high: 51, low: 19, close: 50.5, volume: 3 });
  assert.equal(candles.take(bar('1s', 61, 99)), undefined, 'it counts once');
});

test('a tick opens the next candle, and the closed bar has the last word', () => {
  const candles = new Candles('1s');
  candles.tick(tick(5.2, 10));
  candles.tick(tick(6.1, 12));
  assert.deepEqual(candles.list.map(({ time }) => time), [5, 6]);
  assert.equal(candles.tick(tick(5.9, 99)), undefined, 'a late tick changes no closed candle');
  candles.take(bar('1s', 5, 10, 7));
  assert.deepEqual(candles.list[0], { time: 5, open: 10, high: 11, low: 9, close: 10.5, volume: 7 });
  candles.take(bar('1s', 3, 8));
  assert.deepEqual(candles.list.map(({ time }) => time), [3, 5, 6]);
  candles.forget(2);
  assert.deepEqual(candles.list.map(({ time }) => time), [5, 6]);
});

test('older candles go before those that are there', () => {
  const candles = new Candles('1m');
  candles.load([bar('1m', 120, 10), bar('1s', 180, 20)]);
  candles.prepend([bar('1m', 0, 8), bar('1m', 60, 9)].map(candleOf));
  assert.deepEqual(candles.list.map(({ time, open }) => [time, open]), [[0, 8], [60, 9], [120, 10], [180, 20]]);
  assert.equal(candles.end, 181, 'the newest goes on as before');
});

test('of older signals that are loaded later none takes the place of a newer one', () => {
  const marks = new Marks('1m');
  const signal = (/** @type {string} */ id, /** @type {string} */ side, /** @type {number} */ timestamp) =>
    marks.add(/** @type {any} */ ({ id, strategy: 'a', side, timestamp }));
  signal('2', 'buy', 70);
  signal('1', 'buy', 65);
  signal('0', 'sell', 61);
  assert.deepEqual(marks.of(new Set(['a'])), [{ time: 60, side: 'buy', count: 1, id: '2' }]);
});

test('a bar has one mark, on the side of most signals of the strategies that are shown', () => {
  const marks = new Marks('1m');
  const signal = (/** @type {string} */ id, /** @type {string} */ strategy, /** @type {string} */ side, /** @type {number} */ timestamp) =>
    marks.add(/** @type {any} */ ({ id, strategy, side, timestamp }));
  signal('1', 'a', 'buy', 61);
  signal('2', 'b', 'buy', 62);
  signal('2', 'b', 'buy', 62);
  signal('3', 'a', 'buy', 64);
  signal('4', 'a', 'sell', 70);
  signal('5', 'a', 'sell', 10);
  const told = marks.of(new Set(['a', 'b'])).map(({ time, side, count, id }) => [time, side, count, id]);
  assert.deepEqual(told, [[0, 'sell', 1, '5'], [60, 'buy', 2, '2']]);
  assert.deepEqual(marks.of(new Set(['a'])).map(({ side, count, id }) => [side, count, id]), [['sell', 1, '5'], ['buy', 1, '3']]);
});

test('numbers of the service are read as they are written', () => {
  const before = parse('# HELP x y\nx_total{route="/a\\"b",status="200"} 5\nx_total{route="c"} 1e3\nlag{partition="0"} 7\n');
  assert.equal(before.get('x_total')?.[0]?.labels.route, '/a"b');
  assert.equal(total(before, 'x_total'), 1005);
  const after = parse('x_total{route="c"} 1105\n');
  assert.equal(rate(before, after, 'x_total', 10), 10);
  assert.equal(rate(after, before, 'x_total', 10), null, 'the service began anew');
  assert.equal(rate(before, after, 'y_total', 10), null, 'no such counter');
  assert.ok(hasAny(before, 'x_') && !hasAny(before, 'wigwag_engine_'));
});

test('a quantile is that of what came between two readings', () => {
  const reading = (/** @type {number[]} */ counts) =>
    parse(['0.25', '0.75', '1', '+Inf'].map((le, n) => `t_seconds_bucket{le="${le}"} ${counts[n]}`).join('\n'));
  const [before, after] = [reading([100, 100, 100, 100]), reading([150, 200, 200, 200])];
  assert.equal(quantile(before, after, 't_seconds', 0.5), 0.25);
  assert.equal(quantile(before, after, 't_seconds', 0.75), 0.5);
  assert.equal(quantile(before, before, 't_seconds', 0.5), null);
});

test('numbers have as many digits whatever they are', () => {
  assert.equal(format.digitsOf(187.5, 12), 2);
  assert.equal(format.digitsOf(141.6619), 4);
  assert.equal(format.digitsOf(141.66190001), 4);
  assert.equal(format.digitsOf(0.000423), 6);
  assert.equal(format.price(187.5, 2), '187.50');
  assert.equal(format.signed(-3, 2), '−3.00');
  assert.equal(format.percent(0.126), '+0.13 %');
  assert.equal(format.short(1_234_567), '1.23 M');
  assert.equal(format.duration(0.0043), '4.3 ms');
});

test('a time of another day has its date', () => {
  const now = Date.UTC(2026, 0, 31, 23, 59, 59) / 1000;
  assert.equal(format.moment(now - 1, now), '23:59:58');
  assert.equal(format.moment(now + 1, now), '2026-02-01 00:00:00');
  assert.equal(format.moment(Date.UTC(2010, 0, 1) / 1000, now), '2010-01-01 00:00:00');
});
