// What a strategy is doing on each partition and why, what it logs, and how its shadow does, where the service tells.

import { useEffect, useState } from 'preact/hooks';
import { get, hasRoute } from '../api/http';
import type { StrategyInfo } from '../api/wire';
import { digest, instant } from '../shell/format';

export function StrategyDetails({ of, onClose }: { of: StrategyInfo; onClose: () => void }) {
  const reasons = of.state.filter(({ reason }) => reason !== null);
  return (
    <aside class="explanation" aria-label={`Details of ${of.id}`} onKeyDown={(event) => event.key === 'Escape' && onClose()}>
      <header>
        <h3>{of.id}</h3>
        <button type="button" class="icon" aria-label="Close the details" onClick={onClose}>
          ✕
        </button>
      </header>
      {reasons.map(({ partition, status, reason }) => (
        <p key={partition} class="problem">
          ⚠ {status} on partition {partition}: {reason}
        </p>
      ))}
      <table class="data compact">
        <thead>
          <tr>
            <th class="number">Partition</th>
            <th>State</th>
            <th class="number">Since offset</th>
            <th class="number">Skipped</th>
          </tr>
        </thead>
        <tbody>
          {of.state.map(({ partition, status, since_offset, skipped_rows }) => (
            <tr key={partition}>
              <td class="number">{partition}</td>
              <td>{status}</td>
              <td class="number">{since_offset ?? '–'}</td>
              <td class="number">{skipped_rows}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <dl>
        <div>
          <dt>Version</dt>
          <dd>{of.version}</dd>
        </div>
        <div>
          <dt>Plugin’s digest</dt>
          <dd>
            <code>{of.plugin_digest}</code>
          </dd>
        </div>
        <div>
          <dt>Parameters’ digest</dt>
          <dd>
            <code>{of.params_digest}</code>
          </dd>
        </div>
      </dl>
      <Told id={of.id} what="logs" title="Log" text={logText} />
      {of.shadow && <Told id={of.id} what="shadow" title={`Shadow: ${of.shadow.plugin} ${digest(of.shadow.plugin_digest)}`} text={shadowText} />}
    </aside>
  );
}

const REFRESH_MS = 3_000;

interface ToldProps {
  id: string;
  what: 'logs' | 'shadow';
  title: string;
  text: (body: unknown) => string;
}

/** What the service tells at a path below a strategy's; nothing where it has no such path. */
function Told({ id, what, title, text }: ToldProps) {
  const [told, setTold] = useState<string | null>(null);
  useEffect(() => {
    let gone = false;
    let again: ReturnType<typeof setTimeout>;
    const load = async () => {
      if (!(await hasRoute(`/v1/strategies/{id}/${what}`))) return;
      const body = await get<unknown>(`/v1/strategies/${encodeURIComponent(id)}/${what}`).catch(() => undefined);
      if (gone) return;
      if (body !== undefined) setTold(text(body));
      again = setTimeout(load, REFRESH_MS);
    };
    void load();
    return () => {
      gone = true;
      clearTimeout(again);
    };
  }, [id, what]);
  if (told === null) return null;
  return (
    <>
      <h4>{title}</h4>
      <pre class="told" tabIndex={0} aria-label={title}>
        {told}
      </pre>
    </>
  );
}

interface LoggedLine {
  time: number;
  level: string;
  message: string;
  left_out: number;
  shadow: boolean;
}

function logText(body: unknown): string {
  const { lines } = body as { lines: LoggedLine[] };
  if (lines.length === 0) return 'It has logged nothing.';
  const texts = lines.map(({ time, level, message, left_out, shadow }) => {
    const of = shadow ? `${level} (shadow)` : level;
    return `${instant(time)}  ${of}  ${message}${left_out > 0 ? `  [${left_out} before it left out]` : ''}`;
  });
  return texts.join('\n');
}

interface ShadowReport {
  same: number;
  different: number;
  only_live: number;
  only_shadow: number;
  differences: unknown[];
}

function shadowText(body: unknown): string {
  const { same, different, only_live, only_shadow, differences } = body as ShadowReport;
  const counts = `${same} signals the same, ${different} different, ${only_live} only live, ${only_shadow} only of the shadow`;
  return [counts, ...differences.map((difference) => JSON.stringify(difference))].join('\n');
}
