// The strategies as the service has them, asked for again and again while the page is looked at: nothing tells of their state.

import { signal } from '@preact/signals';
import { get } from '../api/http';
import type { StrategyInfo, StrategyInput } from '../api/wire';

const REFRESH_MS = 3_000;

export const strategies = signal<StrategyInfo[]>([]);

export async function refreshStrategies(): Promise<void> {
  const answer = await get<{ strategies: StrategyInfo[] }>('/v1/strategies').catch(() => undefined);
  if (answer) strategies.value = answer.strategies;
}

export function followStrategies(): void {
  void refreshStrategies();
  setInterval(() => {
    if (!document.hidden) void refreshStrategies();
  }, REFRESH_MS);
}

export type Doing = 'live' | 'starting' | 'paused' | 'quarantined';

/** What a strategy does, over all of its partitions: the worst is what counts. */
export function doing({ enabled, state }: StrategyInfo): Doing {
  if (state.some(({ status }) => status === 'quarantined')) return 'quarantined';
  if (!enabled) return 'paused';
  if (state.length === 0 || state.some(({ status }) => status === 'starting')) return 'starting';
  return 'live';
}

/** What it reads, in words. */
export const inputText = (input: StrategyInput) => (input === 'ticks' ? 'ticks' : `bars of ${input.bars}`);

/** Its definition, so that to send it changes nothing: digests and not names, since to pause is no upgrade. */
export function asItIs(of: StrategyInfo) {
  const { plugin_digest: plugin, params, symbols, input, values_interval_ms, enabled, shadow } = of;
  const kept = shadow && { shadow: { plugin: shadow.plugin_digest, params: shadow.params } };
  return { plugin, params, symbols, input, values_interval_ms, enabled, ...kept };
}
