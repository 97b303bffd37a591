// The table of signals with its filter, and beside it the explanation of the one that was chosen.

import { computed } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Side, Signal } from '../api/wire';
import { moment, price, SIDES } from '../shell/format';
import { digitsFor } from '../market/symbols';
import { symbol } from '../shell/place';
import { strategies } from '../strategies/list';
import { explain, explained } from './explained';
import { Explanation } from './explanation';
import { type Filter, filter, paused, reading, rows, waiting } from './feed';
import { notifyProblem, notifying, toggleNotifications } from './notify';
import { Strength } from './strength';

const change = (part: Partial<Filter>) => {
  filter.value = { ...filter.peek(), ...part };
};

export function SignalsPanel() {
  // Whoever goes away reads no longer.
  useEffect(
    () => () => {
      reading.value = false;
    },
    [],
  );
  return (
    <div class="signals">
      <FilterBar />
      <div class="split">
        <div
          class="scroll"
          tabIndex={0}
          role="region"
          aria-label="Signals, newest first"
          onPointerEnter={() => (reading.value = true)}
          onPointerLeave={() => (reading.value = false)}
          onFocusIn={() => (reading.value = true)}
          onFocusOut={() => (reading.value = false)}
        >
          <Table />
        </div>
        {explained.value && <Explanation of={explained.value} />}
      </div>
    </div>
  );
}

const names = computed(() => [...new Set([...strategies.value.map(({ id }) => id), filter.value.strategy].filter(Boolean))].sort());

function FilterBar() {
  const { strategy, side, onlyCharted, minStrength } = filter.value;
  return (
    <form class="bar" aria-label="Filter of signals" onSubmit={(event) => event.preventDefault()}>
      <label>
        Strategy
        <select value={strategy} onChange={(event) => change({ strategy: event.currentTarget.value })}>
          <option value="">all</option>
          {names.value.map((id) => (
            <option key={id}>{id}</option>
          ))}
        </select>
      </label>
      <label>
        Side
        <select value={side} onChange={(event) => change({ side: event.currentTarget.value as '' | Side })}>
          <option value="">both</option>
          <option value="buy">▲ buy</option>
          <option value="sell">▼ sell</option>
        </select>
      </label>
      <label>
        Strength from
        <input
          type="number"
          min="0"
          max="1"
          step="0.1"
          value={minStrength}
          onChange={(event) => change({ minStrength: Math.min(1, Math.max(0, event.currentTarget.valueAsNumber || 0)) })}
        />
      </label>
      <label class="check">
        <input type="checkbox" checked={onlyCharted} onChange={(event) => change({ onlyCharted: event.currentTarget.checked })} />
        Only {symbol.value || 'the chart’s symbol'}
      </label>
      <span class="fill" />
      <Waiting />
      <button type="button" aria-pressed={paused.value} onClick={() => (paused.value = !paused.value)}>
        {paused.value ? 'Go on' : 'Hold'}
      </button>
      <button type="button" aria-pressed={notifying.value} onClick={() => void toggleNotifications()}>
        Notify me
      </button>
      {notifyProblem.value && (
        <span role="alert" class="warn">
          {notifyProblem.value}
        </span>
      )}
    </form>
  );
}

function Waiting() {
  const count = waiting.value;
  const text = count > 0 && (paused.value || reading.value) ? `held, ${count >= 100 ? '100+' : count} new` : '';
  return <span class="muted waiting">{text}</span>;
}

function Table() {
  if (rows.value.length === 0) return <p class="empty">No signal passes the filter yet.</p>;
  return (
    <table class="data">
      <thead>
        <tr>
          <th>Time, UTC</th>
          <th>Symbol</th>
          <th>Side</th>
          <th class="number">Price</th>
          <th class="wide">Strength</th>
          <th>Strategy</th>
          <th class="wide">Reason</th>
        </tr>
      </thead>
      <tbody>
        {/* By place and not by signal: what moves down is text, and no row is made anew in a busy market. */}
        {rows.value.map((of, at) => (
          <Row key={at} of={of} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ of }: { of: Signal }) {
  const chosen = explained.value?.id === of.id;
  return (
    <tr data-id={of.id} class={chosen ? 'chosen' : ''} onClick={() => void explain(of.id, of)}>
      <td>
        <button type="button" class="plain row-button" aria-expanded={chosen} aria-label={`${moment(of.timestamp)}, explain`}>
          {moment(of.timestamp)}
        </button>
      </td>
      <td>
        <strong>{of.symbol}</strong>
      </td>
      <td class={of.side}>{SIDES[of.side]}</td>
      <td class="number">{price(of.price, digitsFor(of.symbol))}</td>
      <td class="wide">
        <Strength value={of.strength} />
      </td>
      <td>{of.strategy}</td>
      <td class="wide reason">{of.reason}</td>
    </tr>
  );
}
