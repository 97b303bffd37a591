// Tests of the strategy, in this machine's Node: node --test
import assert from 'node:assert/strict';
import test from 'node:test';

import { fresh, onTick } from './strategy.js';

/** Signals and values at each of these closes. */
function run(closes, params) {
  const state = fresh();
  return closes.map((close) => {
    const said = { signals: [], values: {} };
    onTick(state, params, { close }, {
      value: (series, value) => { said.values[series] = value; },
      buy: () => said.signals.push('buy'),
      sell: () => said.signals.push('sell'),
    });
    return said;
  });
}

test('a crossing is a signal', () => {
  const said = run([3, 2, 1, 4, 1], { period: 3 });
  assert.deepEqual(said.map(({ signals }) => signals), [[], [], [], ['buy'], ['sell']]);
});

test('the average of the first ticks is their mean', () => {
  const said = run([3, 2, 1], { period: 3 });
  assert.deepEqual(said.map(({ values }) => values), [{}, {}, { ema: 2 }]);
});
