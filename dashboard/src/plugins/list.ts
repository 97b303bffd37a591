// The plugins as the service has them.

import { signal } from '@preact/signals';
import { get } from '../api/http';
import type { PluginInfo } from '../api/wire';

export const plugins = signal<PluginInfo[]>([]);

export async function refreshPlugins(): Promise<void> {
  const answer = await get<{ plugins: PluginInfo[] }>('/v1/plugins').catch(() => undefined);
  if (answer) plugins.value = answer.plugins;
}
