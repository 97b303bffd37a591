// Why a signal was made: reason and values, what made it, and where the tick stands that caused it, so that anybody can make it
// again.

import { useEffect, useRef } from 'preact/hooks';
import type { Signal } from '../api/wire';
import { showOnChart } from '../chart/panel';
import { figure, instant, price, SIDES } from '../shell/format';
import { digitsFor } from '../market/symbols';
import { explained } from './explained';
import { Strength } from './strength';

export function Explanation({ of }: { of: Signal }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), [of.id]);
  const close = () => {
    explained.value = null;
  };
  return (
    <aside class="explanation" aria-label="Explanation of a signal" onKeyDown={(event) => event.key === 'Escape' && close()}>
      <header>
        <h3 ref={heading} tabIndex={-1}>
          <span class={of.side}>{SIDES[of.side]}</span> {of.symbol} at {price(of.price, digitsFor(of.symbol))}
        </h3>
        <button type="button" class="icon" aria-label="Close the explanation" onClick={close}>
          ✕
        </button>
      </header>
      <p class="reason">{of.reason}</p>
      <dl>
        <Fact name="Strength">
          <Strength value={of.strength} />
        </Fact>
        <Fact name="Time">{instant(of.timestamp)}</Fact>
        {of.bar && (
          <Fact name="Bar">
            {of.bar.interval}, from {instant(of.bar.open_time)}
          </Fact>
        )}
        <Fact name="Strategy">{of.strategy}</Fact>
        {Object.entries(of.values).map(([name, value]) => (
          <Fact key={name} name={name}>
            {figure(value)}
          </Fact>
        ))}
      </dl>
      <h4>Made by</h4>
      <dl>
        <Fact name="Plugin">{of.plugin}</Fact>
        <Fact name="Plugin’s digest">
          <code>{of.plugin_digest}</code>
        </Fact>
        <Fact name="Parameters’ digest">
          <code>{of.params_digest}</code>
        </Fact>
      </dl>
      <h4>{of.bar ? 'From the bar closed by the tick at' : 'From the tick at'}</h4>
      <dl>
        <Fact name="Partition">{of.partition}</Fact>
        <Fact name="Offset">{of.offset}</Fact>
        <Fact name="Row">{of.row}</Fact>
        <Fact name="Id">
          <code>{of.id}</code>
        </Fact>
      </dl>
      <p class="muted">
        To make it again: <code>wigwag verify --partition {of.partition} --from {of.offset} --to {of.offset + 1}</code>
      </p>
      <button type="button" onClick={() => showOnChart(of.symbol, of.timestamp)}>
        Show on the chart
      </button>
    </aside>
  );
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
