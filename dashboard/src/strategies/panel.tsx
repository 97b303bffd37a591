// The strategies with what each is doing, and what can be done with it.

import { signal } from '@preact/signals';
import { Problem, remove, send } from '../api/http';
import { withToken } from '../api/session';
import type { StrategyInfo } from '../api/wire';
import { digest } from '../shell/format';
import { tell } from '../shell/notice';
import { askToRemove } from '../shell/removal';
import { StrategyDetails } from './details';
import { editStrategy, newStrategy } from './form';
import { asItIs, type Doing, doing, inputText, refreshStrategies, strategies } from './list';

/** The strategy whose details are shown. */
const opened = signal('');

const WORDS: Record<Doing, string> = {
  live: '● Live',
  starting: '◌ Starting',
  paused: '‖ Paused',
  quarantined: '⚠ Quarantined',
};

export function StrategiesPanel() {
  const chosen = strategies.value.find(({ id }) => id === opened.value);
  return (
    <div class="strategies">
      <div class="bar">
        <button type="button" class="primary" onClick={() => withToken(() => newStrategy())}>
          New strategy
        </button>
      </div>
      <div class="split">
        <div class="scroll" tabIndex={0} role="region" aria-label="Strategies">
          {strategies.value.length === 0 ? <p class="empty">There is no strategy; make one from a plugin.</p> : <Table />}
        </div>
        {chosen && <StrategyDetails of={chosen} onClose={() => (opened.value = '')} />}
      </div>
    </div>
  );
}

function Table() {
  return (
    <table class="data">
      <thead>
        <tr>
          <th>Strategy</th>
          <th>State</th>
          <th>Plugin</th>
          <th class="wide">Parameters</th>
          <th class="wide">Reads</th>
          <th class="wide">Symbols</th>
          <th class="number wide">Skipped rows</th>
          <th>
            <span class="only-read">Actions</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {strategies.value.map((of) => (
          <Row key={of.id} of={of} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ of }: { of: StrategyInfo }) {
  const is = doing(of);
  const chosen = opened.value === of.id;
  const skipped = of.state.reduce((sum, { skipped_rows }) => sum + skipped_rows, 0);
  return (
    <tr class={chosen ? 'chosen' : ''}>
      <td>
        <button type="button" class="plain row-button" aria-expanded={chosen} onClick={() => (opened.value = chosen ? '' : of.id)}>
          <strong>{of.id}</strong>
        </button>
      </td>
      <td class={`doing ${is}`}>{WORDS[is]}</td>
      <td>
        {of.plugin} <span class="muted digest">{digest(of.plugin_digest)}</span>
      </td>
      <td class="wide">{paramsText(of)}</td>
      <td class="wide">{inputText(of.input)}</td>
      <td class="wide">{of.symbols ? of.symbols.join(', ') : 'all'}</td>
      <td class="number wide">{skipped}</td>
      <td class="row-actions">
        <button type="button" onClick={() => withToken(() => editStrategy(of))}>
          Edit
        </button>
        <button type="button" onClick={() => withToken(() => void setEnabled(of, !of.enabled))}>
          {of.enabled ? 'Pause' : 'Resume'}
        </button>
        <button type="button" onClick={() => withToken(() => askRemoval(of))} aria-label={`Remove ${of.id}`}>
          Remove
        </button>
      </td>
    </tr>
  );
}

const paramsText = ({ params }: StrategyInfo) =>
  Object.entries(params)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');

const pathOf = (id: string) => `/v1/strategies/${encodeURIComponent(id)}`;

async function setEnabled(of: StrategyInfo, enabled: boolean): Promise<void> {
  const wanted = { ...asItIs(of), enabled };
  try {
    await send('PUT', pathOf(of.id), wanted, { 'If-Match': of.etag });
    tell(`${of.id} is ${enabled ? 'resumed' : 'paused'}.`);
  } catch (error) {
    tell(error instanceof Problem ? error.message : String(error), 'warn');
  }
  await refreshStrategies();
}

function askRemoval({ id, etag }: StrategyInfo): void {
  askToRemove({
    what: `strategy ${id}`,
    consequence: 'The engines stop it at their next step. The signals that it made stay.',
    act: async () => {
      await remove(pathOf(id), { 'If-Match': etag });
      await refreshStrategies();
    },
  });
}
