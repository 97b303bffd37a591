// The plugins, and a place to drop another on. What the service answers to an upload is shown as it is.

import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { type Answer, Problem, remove, request } from '../api/http';
import { withToken } from '../api/session';
import type { PluginInfo } from '../api/wire';
import { bytes, digest } from '../shell/format';
import { askToRemove } from '../shell/removal';
import { newStrategy } from '../strategies/form';
import { plugins, refreshPlugins } from './list';

interface Upload {
  file: string;
  size: number;
  /** None while it is on its way. */
  answer: Answer | null;
}

const upload = signal<Upload | null>(null);

export function PluginsPanel() {
  return (
    <div class="plugins scroll" tabIndex={0} role="region" aria-label="Plugins">
      <Drop />
      <Outcome />
      <ul class="cards">
        {plugins.value.map((of) => (
          <Card key={of.name} of={of} />
        ))}
      </ul>
    </div>
  );
}

function Drop() {
  const [over, setOver] = useState(false);
  const take = (file: File | null | undefined) => {
    setOver(false);
    if (file) withToken(() => void send(file));
  };
  return (
    <label
      class={over ? 'drop over' : 'drop'}
      onDragOver={(event) => (event.preventDefault(), setOver(true))}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => (event.preventDefault(), take(event.dataTransfer?.files[0]))}
    >
      <strong>Drop a plugin here</strong>, or choose a <code>.wasm</code> file
      <input
        type="file"
        accept=".wasm,application/wasm"
        onChange={(event) => {
          take(event.currentTarget.files?.[0]);
          // The same file may be chosen again after it was built anew.
          event.currentTarget.value = '';
        }}
      />
    </label>
  );
}

async function send(file: File): Promise<void> {
  const told = { file: file.name, size: file.size };
  upload.value = { ...told, answer: null };
  try {
    const answer = await request('POST', '/v1/plugins', { body: file, headers: { 'Content-Type': 'application/wasm' } });
    upload.value = { ...told, answer };
  } catch (error) {
    upload.value = { ...told, answer: { status: 0, statusText: (error as Problem).message, body: null } };
  }
  await refreshPlugins();
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

function Told({ answer: { status, statusText, body } }: { answer: Answer }) {
  const good = status === 200 || status === 201;
  const plugin = good ? (body as PluginInfo) : null;
  const fields = body as { detail?: string; stage?: string } | null;
  return (
    <>
      <p class={good ? 'good' : 'problem'}>
        <strong>
          {good ? '✓' : '⚠'} {status} {statusText}
        </strong>
        {status === 201 && ' It is here, and can be made a strategy.'}
        {status === 200 && ' The same bytes were here already.'}
        {fields?.stage && ` Refused at: ${fields.stage}.`}
      </p>
      {!good && fields?.detail && <p class="problem">{fields.detail}</p>}
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
