// The plugins, and what the service answers to the upload of another, as it is.

import { type Answer, remove } from '../api/http';
import { withToken } from '../api/session';
import type { PluginInfo, UploadStatus } from '../api/wire';
import { bytes, digest } from '../shell/format';
import { askToRemove } from '../shell/removal';
import { newStrategy } from '../strategies/form';
import { plugins, refreshPlugins } from './list';
import { take, upload } from './upload';

export function PluginsPanel() {
  return (
    <div class="plugins scroll" tabIndex={0} role="region" aria-label="Plugins">
      <Choose />
      <Outcome />
      <ul class="cards">
        {plugins.value.map((of) => (
          <Card key={of.name} of={of} />
        ))}
      </ul>
    </div>
  );
}

function Choose() {
  return (
    <label class="drop">
      <strong>Drop a plugin anywhere on this page</strong>, or choose a <code>.wasm</code> file
      <input
        type="file"
        accept=".wasm,application/wasm"
        onChange={(event) => {
          take(event.currentTarget.files);
          // The same file may be chosen again after it was built anew.
          event.currentTarget.value = '';
        }}
      />
    </label>
  );
}

function Outcome() {
  const now = upload.value;
  return (
    <div role="status">
      {now && (
        <section class="outcome" aria-label="Answer to the upload">
          <header>
            <h3>
              {now.file} <span class="muted">{bytes(now.size)}</span>
            </h3>
            <button type="button" class="icon" aria-label="Dismiss the answer" onClick={() => (upload.value = null)}>
              ✕
            </button>
          </header>
          {now.answer ? <Told answer={now.answer} /> : <p>On its way: it is checked, compiled under limits and asked to describe itself …</p>}
        </section>
      )}
    </div>
  );
}

/** What an answer says of the plugin: of a long upload that stands in its status. */
function outcomeOf({ status, body }: Answer): { plugin: PluginInfo | null; working: boolean; problem: UploadStatus['problem'] } {
  const { state, plugin, problem } = (body ?? {}) as Partial<UploadStatus>;
  if (status < 300 && state !== undefined) return { plugin: plugin ?? null, working: state === 'working', problem: problem ?? null };
  if (status === 200 || status === 201) return { plugin: body as PluginInfo, working: false, problem: null };
  return { plugin: null, working: false, problem: body as UploadStatus['problem'] };
}

function Told({ answer }: { answer: Answer }) {
  const { status, statusText, body } = answer;
  const { plugin, working, problem } = outcomeOf(answer);
  const good = plugin !== null;
  const isLong = typeof body === 'object' && body !== null && 'state' in body;
  return (
    <>
      <p class={good ? 'good' : working ? '' : 'problem'}>
        <strong>
          {good ? '✓' : working ? '…' : '⚠'} {status} {statusText}
        </strong>
        {working && ' It takes longer: it is compiled and tried, and its status asked for until that is done.'}
        {good && (status === 201 || isLong) && ' It is here, and can be made a strategy.'}
        {good && status === 200 && !isLong && ' The same bytes were here already.'}
        {problem?.stage && ` Refused at: ${problem.stage}.`}
      </p>
      {problem?.detail && <p class="problem">{problem.detail}</p>}
      {plugin && (
        <div class="actions left">
          <button type="button" class="primary" onClick={() => newStrategy(plugin.name)}>
            Make a strategy of it
          </button>
        </div>
      )}
      <details open={!good}>
        <summary>The whole answer</summary>
        <pre class="told" tabIndex={0}>
          {typeof body === 'string' ? body : JSON.stringify(body, null, 2)}
        </pre>
      </details>
    </>
  );
}

function Card({ of }: { of: PluginInfo }) {
  return (
    <li class="card">
      <header>
        <h3>
          {of.name} <span class="muted">{of.version}</span>
        </h3>
        <button type="button" onClick={() => withToken(() => newStrategy(of.name))}>
          New strategy
        </button>
        <button
          type="button"
          aria-label={`Remove ${of.name}`}
          onClick={() =>
            withToken(() =>
              askToRemove({
                what: `plugin ${of.name}`,
                consequence: 'It is taken from the list. Its bytes stay as long as signals name them.',
                act: () => remove(`/v1/plugins/${encodeURIComponent(of.name)}`).then(refreshPlugins),
              }),
            )
          }
        >
          Remove
        </button>
      </header>
      <p>{of.help}</p>
      <dl>
        <div>
          <dt>Parameters</dt>
          <dd>{of.params.map((p) => `${p.name} = ${p.default}`).join(', ') || 'none'}</dd>
        </div>
        <div>
          <dt>Series</dt>
          <dd>{of.series.map((s) => `${s.name} (${s.placement === 'over-price' ? 'over the price' : 'own pane'})`).join(', ') || 'none'}</dd>
        </div>
        <div>
          <dt>Reads</dt>
          <dd>{[...of.columns, ...of.events].join(', ')}</dd>
        </div>
        <div>
          <dt>Component</dt>
          <dd>
            {bytes(of.size_bytes)}, <code title={of.digest}>{digest(of.digest)}</code>
          </dd>
        </div>
      </dl>
    </li>
  );
}
