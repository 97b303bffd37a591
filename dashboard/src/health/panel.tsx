// How the service does: whether it is ready, what goes through it, how far each partition is behind, how long things take.

import { useEffect } from 'preact/hooks';
import { duration, number, short } from '../shell/format';
import { follow, missing, type Reading, readings } from './readings';
import { Spark } from './spark';

export function HealthPanel() {
  useEffect(follow, []);
  const all = readings.value;
  const now = all.at(-1);
  return (
    <div class="health scroll" tabIndex={0} role="region" aria-label="Health">
      <Ready />
      {now ? (
        <>
          <div class="tiles">
            <Tile name="Ticks a second" value={rateText(now.ticks)} history={all.map(({ ticks }) => ticks)} />
            <Tile name="Signals a second" value={rateText(now.signals)} history={all.map(({ signals }) => signals)} />
            <Tile name="Rejected a second" value={rateText(now.rejected)} history={all.map(({ rejected }) => rejected)} />
            <Latency name="Commit of a step" of={now.commit} history={all.map(({ commit }) => commit.p99)} />
            <Latency name="Append of records" of={now.append} history={all.map(({ append }) => append.p99)} />
          </div>
          {now.hasEngine ? <Engine of={now} /> : <p class="warn">This replica runs no engine: ticks, signals and partitions are counted where one runs.</p>}
          <p class="muted">Open streams: {number(now.streams)}.</p>
        </>
      ) : (
        <p class="empty">Reading the service’s numbers …</p>
      )}
    </div>
  );
}

function Engine({ of }: { of: Reading }) {
  return (
    <>
      <Partitions of={of} />
      <p class="muted">
        {short(of.late)} late ticks dropped, {short(of.skipped)} rows skipped by failing strategies, {short(of.failures)} failures of
        partitions since the start.
      </p>
    </>
  );
}

const rateText = (value: number | null) => (value === null ? '–' : value < 10 ? number(value, 1) : short(value));

function Ready() {
  const what = missing.value;
  if (what === null) return <p class="problem">⚠ The service does not answer.</p>;
  if (what.length === 0) {
    return <p class="good">✓ Ready: the log answers, the view has caught up{readings.value.at(-1)?.hasEngine === false ? '' : ', the engines are live'}.</p>;
  }
  return (
    <ul class="problem">
      {what.map((of) => (
        <li key={of}>⚠ {of}</li>
      ))}
    </ul>
  );
}

function Tile({ name, value, history }: { name: string; value: string; history: (number | null)[] }) {
  return (
    <div class="tile">
      <h3>{name}</h3>
      <p class="big">{value}</p>
      <Spark values={history} />
    </div>
  );
}

function Latency({ name, of: { p50, p99 }, history }: { name: string; of: Reading['commit']; history: (number | null)[] }) {
  const text = (value: number | null) => (value === null ? '–' : duration(value));
  return (
    <div class="tile">
      <h3>{name}</h3>
      <p class="big">
        {text(p50)} <span class="muted">p99 {text(p99)}</span>
      </p>
      <Spark values={history} />
    </div>
  );
}

function Partitions({ of: { lag } }: { of: Reading }) {
  return (
    <table class="data compact">
      <caption>Partitions of ticks</caption>
      <thead>
        <tr>
          <th class="number">Partition</th>
          <th class="number">Messages behind</th>
          <th class="number">Newest checkpoint</th>
        </tr>
      </thead>
      <tbody>
        {lag.map(({ partition, messages, checkpointAge }) => (
          <tr key={partition}>
            <td class="number">{partition}</td>
            <td class={`number ${messages > 1000 ? 'warn' : ''}`}>{number(messages)}</td>
            <td class="number">{checkpointAge === null ? '–' : `${duration(checkpointAge)} old`}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
