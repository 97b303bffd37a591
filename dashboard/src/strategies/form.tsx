// The form that makes or changes a strategy, drawn from what the plugin says of its parameters. What is wrong is judged by the
// service, and told beside the field.

import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { type FieldError, Problem, send } from '../api/http';
import { INTERVALS, type Interval, type ParamValue, type PluginInfo, type StrategyInfo } from '../api/wire';
import { pluginOf } from '../chart/lines';
import { plugins } from '../plugins/list';
import { Dialog } from '../shell/dialog';
import { digest } from '../shell/format';
import { tell } from '../shell/notice';
import { panel } from '../shell/place';
import { asItIs, refreshStrategies, strategies } from './list';
import { Field, Parameter } from './parameter';

/** What is edited: a strategy that is there, or a new one of a plugin. */
const edited = signal<{ strategy: StrategyInfo | null; plugin: string } | null>(null);

export function newStrategy(plugin?: string): void {
  edited.value = { strategy: null, plugin: plugin ?? plugins.peek()[0]?.name ?? '' };
}

export function editStrategy(strategy: StrategyInfo): void {
  edited.value = { strategy, plugin: strategy.plugin };
}

export function StrategyDialog() {
  const now = edited.value;
  if (!now) return null;
  const title = now.strategy ? `Change ${now.strategy.id}` : 'New strategy';
  return (
    <Dialog title={title} onClose={() => (edited.value = null)}>
      <Form strategy={now.strategy} first={now.plugin} />
    </Dialog>
  );
}

function Form({ strategy, first }: { strategy: StrategyInfo | null; first: string }) {
  const [name, setName] = useState(first);
  const [errors, setErrors] = useState<FieldError[]>([]);
  const [summary, setSummary] = useState('');
  const newest = plugins.value.find((plugin) => plugin.name === name);
  const current = strategy && pluginOf(strategy, plugins.value);
  // A strategy stays with its component, unless it is to get the newest of that name.
  const isOutdated = strategy?.plugin === name && newest !== undefined && newest.digest !== strategy.plugin_digest;
  const [upgrade, setUpgrade] = useState(false);
  const plugin = strategy?.plugin === name && !upgrade ? (current ?? undefined) : newest;

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const id = strategy?.id ?? String(form.get('id'));
    const keeps = strategy?.plugin === name && !upgrade;
    try {
      await send('PUT', `/v1/strategies/${encodeURIComponent(id)}`, request(form, plugin, keeps ? strategy : null, name), {
        ...(strategy ? { 'If-Match': strategy.etag } : { 'If-None-Match': '*' }),
      });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setErrors(error.errors);
      setSummary(error.status === 412 ? 'It was changed meanwhile, or is there already; close this and look again.' : error.message);
      return;
    }
    edited.value = null;
    panel.value = 'strategies';
    tell(strategy ? `${id} is changed.` : `${id} is on its way: it warms up from the log and then goes live.`);
    await refreshStrategies();
  };

  const bars = strategy && strategy.input !== 'ticks' ? strategy.input.bars : undefined;
  const errorOf = (field: string) => errors.find((error) => error.field === field || error.field.endsWith(`.${field}`))?.message;
  return (
    <form class="fields" onSubmit={submit}>
      <Field label="Plugin" help={plugin?.help} error={errorOf('plugin')}>
        <select name="plugin" value={name} onChange={(event) => setName(event.currentTarget.value)}>
          {plugins.value.map((of) => (
            <option key={of.name} value={of.name}>
              {of.name} {of.version}
            </option>
          ))}
        </select>
      </Field>
      {isOutdated && (
        <label class="check">
          <input type="checkbox" checked={upgrade} onChange={(event) => setUpgrade(event.currentTarget.checked)} />
          Take the newest upload, {newest?.version} ({digest(newest?.digest ?? '')})
        </label>
      )}
      {!strategy && (
        <Field label="Id" help="1 to 64 characters from a-z 0-9 . _ -" error={errorOf('id')}>
          <input key={name} name="id" required pattern="[a-z0-9][a-z0-9._\-]{0,63}" defaultValue={freeId(plugin)} autocomplete="off" />
        </Field>
      )}
      <fieldset key={`${plugin?.digest}`}>
        <legend>Parameters</legend>
        {plugin?.params.length === 0 && <p class="muted">This plugin has none.</p>}
        {plugin?.params.map((of) => (
          <Parameter key={of.name} of={of} now={strategy?.plugin === name ? strategy.params[of.name] : undefined} error={errorOf(of.name)} />
        ))}
      </fieldset>
      <Field label="Reads" help="Each tick, or each bar once the next tick has closed it." error={errorOf('input')}>
        <select name="input" defaultValue={bars ?? 'ticks'}>
          <option value="ticks">Ticks</option>
          {Object.keys(INTERVALS).map((interval) => (
            <option key={interval} value={interval} selected={interval === bars}>
              Bars of {interval}
            </option>
          ))}
        </select>
      </Field>
      <Field label="Symbols" help="Separated by commas; empty means all." error={errorOf('symbols')}>
        <input name="symbols" defaultValue={strategy?.symbols?.join(', ') ?? ''} autocomplete="off" />
      </Field>
      <Field label="Values at most every, ms" help="Of the ticks’ own time, for charts; 0 is every tick. Of bars, each is put out." error={errorOf('values_interval_ms')}>
        <input name="values_interval_ms" type="number" min="0" step="1" defaultValue={String(strategy?.values_interval_ms ?? 1000)} />
      </Field>
      <label class="check">
        <input name="enabled" type="checkbox" defaultChecked={strategy?.enabled ?? true} />
        Runs at once
      </label>
      <p role="alert" class="problem">
        {summary}
      </p>
      <div class="actions">
        <button type="button" onClick={() => (edited.value = null)}>
          Cancel
        </button>
        <button type="submit" class="primary">
          {strategy ? 'Change it' : 'Start it'}
        </button>
      </div>
    </form>
  );
}

/** What the form asks for; of a strategy that keeps its plugin, with the component that it has. */
function request(form: FormData, plugin: PluginInfo | undefined, kept: StrategyInfo | null, name: string) {
  const params: Record<string, ParamValue> = {};
  for (const of of plugin?.params ?? []) {
    const value = form.get(`param.${of.name}`);
    if (of.kind === 'boolean') params[of.name] = value !== null;
    else if (of.kind === 'choice') params[of.name] = String(value);
    else if (value !== null && value !== '') params[of.name] = Number(value);
  }
  const symbols = String(form.get('symbols') ?? '')
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((symbol) => symbol.toUpperCase());
  const input = String(form.get('input') ?? 'ticks');
  return {
    ...(kept ? asItIs(kept) : { plugin: name }),
    params,
    symbols: symbols.length > 0 ? symbols : null,
    input: input === 'ticks' ? input : { bars: input as Interval },
    values_interval_ms: Number(form.get('values_interval_ms')),
    enabled: form.get('enabled') !== null,
  };
}

/** The plugin's name with its first number, as `ma-20`, or the next that is free. */
function freeId(plugin: PluginInfo | undefined): string {
  if (!plugin) return '';
  const first = plugin.params.find(({ kind }) => kind === 'integer')?.default;
  const wanted = first === undefined ? plugin.name : `${plugin.name}-${first}`;
  const taken = new Set(strategies.peek().map(({ id }) => id));
  for (let n = 1; ; n += 1) {
    const id = n === 1 ? wanted : `${wanted}-${n}`;
    if (!taken.has(id)) return id;
  }
}
