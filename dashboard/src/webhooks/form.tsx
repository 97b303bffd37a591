// The form that makes a webhook, and the secret that is shown once it is made. What is wrong is judged by the service.

import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { type FieldError, Problem, send } from '../api/http';
import type { WebhookInfo } from '../api/wire';
import { Dialog } from '../shell/dialog';
import { panel } from '../shell/place';
import { Field } from '../strategies/parameter';
import { refreshWebhooks } from './list';

/** None while the form is open; then what the service told only once. */
const dialog = signal<{ secret: string | null } | null>(null);

export function newWebhook(): void {
  dialog.value = { secret: null };
}

export function WebhookDialog() {
  const now = dialog.value;
  if (!now) return null;
  const close = () => {
    dialog.value = null;
  };
  return (
    <Dialog title={now.secret ? 'Its secret' : 'New webhook'} onClose={close}>
      {now.secret ? <Secret text={now.secret} onClose={close} /> : <Form onClose={close} />}
    </Dialog>
  );
}

function Form({ onClose }: { onClose: () => void }) {
  const [errors, setErrors] = useState<FieldError[]>([]);
  const [summary, setSummary] = useState('');
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    try {
      const { secret } = await send<WebhookInfo & { secret: string }>('POST', '/v1/webhooks', request(form));
      panel.value = 'webhooks';
      dialog.value = { secret };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setErrors(error.errors);
      setSummary(error.message);
    }
    await refreshWebhooks();
  };
  const errorOf = (field: string) => errors.find((error) => error.field === field)?.message;
  return (
    <form class="fields" onSubmit={submit}>
      <Field label="Address" help="Of the receiver; http or https." error={errorOf('url')}>
        <input name="url" type="url" required placeholder="https://" autocomplete="off" />
      </Field>
      <Field label="Description" help="What it is for." error={errorOf('description')}>
        <input name="description" maxLength={200} autocomplete="off" />
      </Field>
      <Field label="Format" help="Signed JSON, or a line for people." error={errorOf('format')}>
        <select name="format">
          <option value="standard">Standard Webhooks</option>
          <option value="slack">Slack</option>
        </select>
      </Field>
      <Field label="Symbols" help="Separated by commas; empty means all." error={errorOf('symbols')}>
        <input name="symbols" autocomplete="off" />
      </Field>
      <Field label="Strategies" help="Separated by commas; empty means all." error={errorOf('strategies')}>
        <input name="strategies" autocomplete="off" />
      </Field>
      <Field label="Side" error={errorOf('side')}>
        <select name="side">
          <option value="">both</option>
          <option value="buy">▲ buy</option>
          <option value="sell">▼ sell</option>
        </select>
      </Field>
      <p role="alert" class="problem">
        {summary}
      </p>
      <div class="actions">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button type="submit" class="primary">
          Make it
        </button>
      </div>
    </form>
  );
}

function Secret({ text, onClose }: { text: string; onClose: () => void }) {
  return (
    <>
      <p>The receiver checks by it that a signal comes from here. It is shown this once; keep it where the receiver finds it.</p>
      <pre class="told" tabIndex={0} data-testid="secret">
        {text}
      </pre>
      <div class="actions">
        <button type="button" onClick={() => void navigator.clipboard?.writeText(text)}>
          Copy
        </button>
        <button type="button" class="primary" autofocus onClick={onClose}>
          I have it
        </button>
      </div>
    </>
  );
}

function request(form: FormData) {
  const text = (name: string) => String(form.get(name) ?? '').trim();
  const names = (of: string) => {
    const all = of.split(/[\s,]+/).filter(Boolean);
    return all.length > 0 ? all : null;
  };
  return {
    url: text('url'),
    description: text('description'),
    format: text('format'),
    symbols: names(text('symbols').toUpperCase()),
    strategies: names(text('strategies')),
    side: text('side') || null,
  };
}
