// Who is logged in: the service knows it by a cookie that no script can read.

import { computed, effect, signal } from '@preact/signals';
import { get, remove, send } from './http';
import { connection, reconnect } from './live';
import type { SessionState } from './wire';

export const session = signal<SessionState>({ name: null, scopes: [], may_read: true });

/** Whether plugins and strategies may be changed. */
export const mayDeploy = computed(() => session.value.scopes.some((scope) => scope === 'plugins' || scope === 'admin'));

/** Whether webhooks may be seen and changed. */
export const mayAdminister = computed(() => session.value.scopes.includes('admin'));

/** Open while a token is asked for; what to do once it is there. */
export const asking = signal<{ then?: () => void } | null>(null);

export async function refreshSession(): Promise<void> {
  session.value = await get<SessionState>('/v1/session');
  if (!session.value.may_read) asking.value = {};
}

/** Keeps up with it: a service that was started anew knows other tokens. */
export function followSession(): void {
  effect(() => {
    if (connection.value !== 'stale') void refreshSession().catch(() => undefined);
  });
}

export async function logIn(token: string): Promise<void> {
  const couldRead = session.peek().may_read;
  await send('POST', '/v1/session', { token });
  // Where nothing was shown, everything begins anew.
  if (!couldRead) location.reload();
  await refreshSession();
  reconnect();
}

export async function logOut(): Promise<void> {
  await remove('/v1/session');
  await refreshSession();
  reconnect();
}

/** Does what needs a token, and asks for one first where there is none. */
export function withToken(action: () => void): void {
  if (mayDeploy.peek()) action();
  else asking.value = { then: action };
}

/** The same for what needs a token of scope `admin`. */
export function withAdmin(action: () => void): void {
  if (mayAdminister.peek()) action();
  else asking.value = { then: action };
}
