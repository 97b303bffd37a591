// The newest attempts of a webhook, and its dead letters, which can be sent again.

import { useEffect, useState } from 'preact/hooks';
import { get, Problem, send } from '../api/http';
import { withAdmin } from '../api/session';
import type { AttemptInfo, DeadLetter, WebhookInfo } from '../api/wire';
import { clock, duration, instant } from '../shell/format';
import { tell } from '../shell/notice';
import { pathOf, refreshWebhooks } from './list';
import { nameOf } from './panel';

const SHOWN = 20;

const RESULTS: Record<AttemptInfo['result'], string> = { delivered: '✓', retry: '↻', dead: '✕' };

export function Deliveries({ of, onClose }: { of: WebhookInfo; onClose: () => void }) {
  const [attempts, setAttempts] = useState<AttemptInfo[]>([]);
  const [dead, setDead] = useState<DeadLetter[]>([]);
  // The list is asked for again and again, and with each answer what belongs to this one.
  useEffect(() => {
    let gone = false;
    const path = pathOf(of.id);
    const asked = Promise.all([
      get<{ attempts: AttemptInfo[] }>(`${path}/deliveries`, { limit: SHOWN }),
      get<{ dead: DeadLetter[] }>(`${path}/dead`, { limit: SHOWN }),
    ]);
    asked.then(
      ([log, letters]) => {
        if (gone) return;
        setAttempts(log.attempts);
        setDead(letters.dead);
      },
      () => undefined,
    );
    return () => {
      gone = true;
    };
  }, [of]);
  const name = nameOf(of);
  return (
    <aside class="explanation" aria-label={`Deliveries of ${name}`} onKeyDown={(event) => event.key === 'Escape' && onClose()}>
      <header>
        <h3>{name}</h3>
        <button type="button" class="icon" aria-label="Close the deliveries" onClick={onClose}>
          ✕
        </button>
      </header>
      {of.reason && <p class="problem">⚠ Disabled: {of.reason}</p>}
      <dl>
        <div>
          <dt>Leads to</dt>
          <dd>
            <code>{of.url}</code>
          </dd>
        </div>
        <div>
          <dt>Format</dt>
          <dd>{of.format}</dd>
        </div>
        <div>
          <dt>Id</dt>
          <dd>
            <code>{of.id}</code>
          </dd>
        </div>
      </dl>
      <DeadLetters of={of} letters={dead} />
      <Attempts all={attempts} />
    </aside>
  );
}

function DeadLetters({ of, letters }: { of: WebhookInfo; letters: DeadLetter[] }) {
  if (letters.length === 0) return null;
  const resend = (signal?: string) => withAdmin(() => void sendAgain(of, signal));
  return (
    <>
      <h4>Dead letters{of.dead > letters.length && `, the newest ${letters.length} of ${of.dead}`}</h4>
      <ul class="letters">
        {letters.map(({ signal, attempts, time, cause }) => (
          <li key={signal}>
            <code>{signal}</code>
            <span title={instant(time)}>
              {cause}, after {attempts === 1 ? '1 attempt' : `${attempts} attempts`}
            </span>
            <button type="button" aria-label={`Send again ${signal}`} onClick={() => resend(signal)}>
              Send again
            </button>
          </li>
        ))}
      </ul>
      <div class="actions left">
        <button type="button" onClick={() => resend()}>
          Send all again
        </button>
      </div>
    </>
  );
}

async function sendAgain(of: WebhookInfo, signal?: string): Promise<void> {
  try {
    const { resent } = await send<{ resent: number }>('POST', `${pathOf(of.id)}/resend`, signal ? { signal } : {});
    tell(resent === 1 ? 'One dead letter is sent again.' : `${resent} dead letters are sent again.`);
  } catch (error) {
    tell(error instanceof Problem ? error.message : String(error), 'warn');
  }
  await refreshWebhooks();
}

function Attempts({ all }: { all: AttemptInfo[] }) {
  if (all.length === 0) return <p class="muted">Nothing was sent yet.</p>;
  return (
    <>
      <h4>Newest attempts</h4>
      <ul class="letters">
        {all.map((of) => (
          <li key={`${of.signal} ${of.attempt} ${of.time}`} class={of.result}>
            <code>{of.signal}</code>
            <span>
              <span aria-hidden="true">{RESULTS[of.result]} </span>
              {clock(of.time)}, {outcome(of)} in {duration(of.duration_ms / 1000)}
              {of.next_attempt !== null && `, again at ${clock(of.next_attempt)}`}
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}

const outcome = ({ result, status, error }: AttemptInfo) => (result === 'delivered' ? `delivered, ${status}` : (error ?? `${status}`));
