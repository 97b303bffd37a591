// The panels below the chart, one at a time, as tabs.

import { type Panel, PANELS, panel } from './place';
import { HealthPanel } from '../health/panel';
import { PluginsPanel } from '../plugins/panel';
import { SignalsPanel } from '../signals/panel';
import { StrategiesPanel } from '../strategies/panel';
import { doing, strategies } from '../strategies/list';
import { stored } from './stored';
import { WebhooksPanel } from '../webhooks/panel';

const CONTENT: Record<Panel, () => preact.ComponentChild> = {
  signals: () => <SignalsPanel />,
  strategies: () => <StrategiesPanel />,
  plugins: () => <PluginsPanel />,
  webhooks: () => <WebhooksPanel />,
  health: () => <HealthPanel />,
};

/** Whether the panel takes the chart's place. */
export const tall = stored<boolean>('tall', false);

export function Panels() {
  return (
    <section class="panels" aria-label="Panels">
      <div class="tabs-row">
        <div role="tablist" aria-label="Panels" onKeyDown={move}>
          {PANELS.map((of) => (
            <Tab key={of} of={of} />
          ))}
        </div>
        <button type="button" class="icon size" aria-pressed={tall.value} aria-label="Tall panel" title="Tall panel" onClick={() => (tall.value = !tall.value)}>
          {tall.value ? '▾' : '▴'}
        </button>
      </div>
      <div role="tabpanel" id="panel" aria-labelledby={`tab-${panel.value}`} class="panel">
        {CONTENT[panel.value]()}
      </div>
    </section>
  );
}

function Tab({ of }: { of: Panel }) {
  const selected = panel.value === of;
  const quarantined = of === 'strategies' && strategies.value.some((strategy) => doing(strategy) === 'quarantined');
  return (
    <button
      type="button"
      role="tab"
      id={`tab-${of}`}
      aria-selected={selected}
      aria-controls="panel"
      tabIndex={selected ? 0 : -1}
      onClick={() => (panel.value = of)}
    >
      {of[0]?.toUpperCase() + of.slice(1)}
      {quarantined && <span class="badge"> ⚠<span class="only-read"> a strategy is in quarantine</span></span>}
    </button>
  );
}

function move(event: KeyboardEvent): void {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const next = PANELS[(PANELS.indexOf(panel.value) + step + PANELS.length) % PANELS.length];
  if (!next) return;
  panel.value = next;
  document.getElementById(`tab-${next}`)?.focus();
}
