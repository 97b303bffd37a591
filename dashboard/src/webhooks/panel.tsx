// The webhooks with how their deliveries stand, and what can be done with each. Addresses may be secrets, so that it is for
// admins.

import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Problem, remove, send } from '../api/http';
import { mayAdminister, withAdmin } from '../api/session';
import type { WebhookInfo } from '../api/wire';
import { tell } from '../shell/notice';
import { askToRemove } from '../shell/removal';
import { Deliveries } from './deliveries';
import { newWebhook } from './form';
import { pathOf, refreshWebhooks, webhooks } from './list';

const REFRESH_MS = 2_000;

/** The webhook whose deliveries are shown. */
const opened = signal('');

const WORDS: Record<WebhookInfo['state'], string> = {
  live: '● Live',
  failing: '⚠ Failing',
  disabled: '‖ Disabled',
};

export function WebhooksPanel() {
  const may = mayAdminister.value;
  useEffect(() => {
    if (!may) return undefined;
    void refreshWebhooks();
    const timer = setInterval(() => {
      if (!document.hidden) void refreshWebhooks();
    }, REFRESH_MS);
    return () => clearInterval(timer);
  }, [may]);
  const chosen = may ? webhooks.value.find(({ id }) => id === opened.value) : undefined;
  return (
    <div class="strategies">
      <div class="bar">
        <button type="button" class="primary" onClick={() => withAdmin(newWebhook)}>
          New webhook
        </button>
      </div>
      <div class="split">
        <div class="scroll" tabIndex={0} role="region" aria-label="Webhooks">
          <Content may={may} />
        </div>
        {chosen && <Deliveries of={chosen} onClose={() => (opened.value = '')} />}
      </div>
    </div>
  );
}

function Content({ may }: { may: boolean }) {
  if (!may) return <p class="empty">Webhooks are shown to those who log in with a token of scope admin.</p>;
  if (webhooks.value.length === 0) return <p class="empty">There is no webhook; make one to send signals to a receiver.</p>;
  return (
    <table class="data">
      <thead>
        <tr>
          <th>Webhook</th>
          <th>State</th>
          <th class="wide">Signals</th>
          <th class="number">Delivered</th>
          <th class="number">Due</th>
          <th class="number">Dead</th>
          <th>
            <span class="only-read">Actions</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {webhooks.value.map((of) => (
          <Row key={of.id} of={of} />
        ))}
      </tbody>
    </table>
  );
}

/** What it is called: its description, or where it leads. */
export const nameOf = ({ description, url }: WebhookInfo) => description || url;

function Row({ of }: { of: WebhookInfo }) {
  const chosen = opened.value === of.id;
  const name = nameOf(of);
  return (
    <tr class={chosen ? 'chosen' : ''}>
      <td class="target">
        <button type="button" class="plain row-button" aria-expanded={chosen} onClick={() => (opened.value = chosen ? '' : of.id)}>
          <strong>{name}</strong>
        </button>
      </td>
      <td class={`doing ${of.state}`}>{WORDS[of.state]}</td>
      <td class="wide">{filterText(of)}</td>
      <td class="number">{of.delivered}</td>
      <td class="number">{of.due}</td>
      <td class="number">{of.dead}</td>
      <td class="row-actions">
        <button type="button" onClick={() => withAdmin(() => void setEnabled(of, !of.enabled))}>
          {of.enabled ? 'Disable' : 'Enable'}
        </button>
        <button type="button" aria-label={`Remove ${name}`} onClick={() => withAdmin(() => askRemoval(of))}>
          Remove
        </button>
      </td>
    </tr>
  );
}

function filterText({ symbols, strategies, side }: WebhookInfo): string {
  const parts = [side ?? '', symbols?.join(', ') ?? '', strategies?.join(', ') ?? ''];
  return parts.filter(Boolean).join('; ') || 'all';
}

async function setEnabled(of: WebhookInfo, enabled: boolean): Promise<void> {
  const { url, description, format, symbols, strategies, side, version } = of;
  try {
    const wanted = { url, description, format, symbols, strategies, side, enabled };
    await send('PUT', pathOf(of.id), wanted, { 'If-Match': `"${version}"` });
    tell(`${nameOf(of)} is ${enabled ? 'enabled: it gets what comes from now on' : 'disabled'}.`);
  } catch (error) {
    tell(error instanceof Problem ? error.message : String(error), 'warn');
  }
  await refreshWebhooks();
}

function askRemoval(of: WebhookInfo): void {
  askToRemove({
    what: `webhook ${nameOf(of)}`,
    consequence: 'Nothing more is sent, and its deliveries and dead letters are forgotten.',
    act: () => remove(pathOf(of.id)).then(refreshWebhooks),
  });
}
