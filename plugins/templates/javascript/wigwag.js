// Between the contract (wit/plugin.wit) and strategy.js: columns to ticks, values, signals, and states as JSON.
//
// Not to be changed for a strategy that reads ticks; where it reads events, or keeps what belongs to no symbol, this is the
// place.
import host from 'wigwag:plugin/host@1.0.0';
import * as author from './strategy.js';

const refuse = (what, instead) => () => {
  throw new Error(`${what} was asked for, which plugins do not get; ${instead}`);
};

// There is neither a clock nor chance in here: asked for, they say so.
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    if (given.length === 0) refuse('the clock (new Date)', 'read tick.time')();
    super(...given);
  }
};
globalThis.Date.now = refuse('the clock (Date.now)', 'read tick.time');
Math.random = refuse('randomness (Math.random)', 'compute from ticks and parameters alone');
globalThis.console = Object.fromEntries(
  ['debug', 'info', 'warn', 'error'].map((level) => [level, (...words) => host.log(level, words.join(' '))]),
);
console.log = console.info;

const COLUMNS = ['time', 'open', 'high', 'low', 'close', 'volume'];
const read = COLUMNS.filter((column) => author.columns.includes(column));
const seriesNames = Object.keys(author.series);

/** What a parameter accepts. */
function kind({ integer, number, boolean, choice, min, max, options }) {
  if (integer !== undefined) return { tag: 'integer', val: { default: integer, min, max } };
  if (number !== undefined) return { tag: 'number', val: { default: number, min, max } };
  if (boolean !== undefined) return { tag: 'boolean', val: boolean };
  return { tag: 'choice', val: { default: choice, options } };
}

let params = {};
// By symbol number.
const names = [];
const states = [];

/** An exception has no way out of a component: its message goes to the log, where the host looks for it. */
function telling(call) {
  return (...given) => {
    try {
      return call(...given);
    } catch (error) {
      host.log('error', `${error}`);
      throw error;
    }
  };
}

// What the strategy says is taken here; reused from tick to tick, since making objects is what a tick mostly costs.
let signals;
let row = 0;
const rowValues = new Array(seriesNames.length);
const places = Object.fromEntries(seriesNames.map((name, place) => [name, place]));
const say = (side) => (strength, reason) => {
  signals.row.push(row);
  signals.opinion.push(signals.opinions.length);
  signals.strength.push(strength);
  signals.opinions.push({ side, reason });
};
const out = {
  value(series, value) {
    const place = places[series];
    if (place === undefined) throw new Error(`there is no series ${series}; there are ${seriesNames.join(', ')}`);
    rowValues[place] = value;
  },
  buy: say('buy'),
  sell: say('sell'),
};
const tick = {};

function onBatch(batch) {
  signals = { row: [], opinion: [], strength: [], values: [], opinions: [] };
  const values = [];
  const { symbol: symbols, wanted } = batch;
  const columns = read.map((column) => batch[column]);
  let nextWanted = 0;
  for (row = 0; row < symbols.length; row++) {
    const symbol = symbols[row];
    const state = states[symbol] ?? (states[symbol] = author.fresh());
    tick.symbol = names[symbol];
    for (let n = 0; n < read.length; n++) tick[read[n]] = columns[n][row];
    rowValues.fill(NaN);
    const before = signals.row.length;
    author.onTick(state, params, tick, out);
    for (let n = before; n < signals.row.length; n++) signals.values.push(...rowValues);
    if (wanted[nextWanted] === row) {
      values.push(...rowValues);
      nextWanted++;
    }
  }
  return { signals, values };
}

export const strategy = {
  describe: telling(() => ({
    ...author.about,
    params: Object.entries(author.params).map(([name, param]) => ({ name, help: param.help, kind: kind(param) })),
    columns: Object.fromEntries(COLUMNS.map((column) => [column, read.includes(column)])),
    events: { orderBook: false, newsSentiment: false, marketData: false, economicIndicator: false },
    series: Object.entries(author.series).map(([name, { placement, help }]) => ({ name, help, placement })),
  })),
  configure: telling((given) => {
    params = Object.fromEntries(given.map(([name, value]) => [name, value.val]));
    return { warmUpTicks: author.warmUpTicks(params) };
  }),
  defineSymbols: telling((first, given) => given.forEach((name, n) => { names[first + n] = name; })),
  onBatch: telling(onBatch),
  snapshot: telling((symbols) =>
    symbols.map((symbol) => bytes(states[symbol] === undefined ? '' : JSON.stringify(states[symbol])))),
  restore(given) {
    for (const [symbol, state] of given) {
      try {
        states[symbol] = state.length === 0 ? undefined : JSON.parse(text(state));
      } catch (error) {
        throw `the state of symbol ${symbol} is no JSON: ${error}`;
      }
    }
  },
  snapshotShared: () => new Uint8Array(),
  restoreShared() {},
};

/** JSON without letters beyond ASCII. */
function bytes(json) {
  const escaped = json.replace(/[^\x00-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return Uint8Array.from(escaped, (c) => c.charCodeAt(0));
}

function text(bytes) {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
}
