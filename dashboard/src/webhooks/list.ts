// The webhooks as the service has them, asked for while their panel is looked at by somebody who may see them.

import { signal } from '@preact/signals';
import { get } from '../api/http';
import type { WebhookInfo } from '../api/wire';

export const webhooks = signal<WebhookInfo[]>([]);

export async function refreshWebhooks(): Promise<void> {
  const answer = await get<{ webhooks: WebhookInfo[] }>('/v1/webhooks').catch(() => undefined);
  if (answer) webhooks.value = answer.webhooks;
}

export const pathOf = (id: string) => `/v1/webhooks/${encodeURIComponent(id)}`;
