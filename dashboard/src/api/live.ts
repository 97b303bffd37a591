// The WebSocket: what the page is subscribed to, kept up over lost connections. Each subscription goes on where it was; who
// shows more than signals is told to load anew what it may have missed.
//
// A WebSocket and not `EventSource`, since a browser opens at most six connections of the other kind to one address: the
// seventh tab would stand still.

import { signal } from '@preact/signals';
import type { Bar, Signal, Tick, Values } from './wire';

export interface StreamQuery {
  types: string;
  symbol?: string;
  strategy?: string;
  side?: string;
}

export interface Handlers {
  signal?: (signal: Signal) => void;
  value?: (values: Values) => void;
  bar?: (bar: Bar) => void;
  tick?: (tick: Tick) => void;
  /** The connection is back after a loss, or signals are missing: load anew. */
  missed?: () => void;
}

interface Subscription {
  query: StreamQuery;
  handlers: Handlers;
  place: string | undefined;
}

export type Connection = 'connecting' | 'live' | 'stale';

/** The service says something at least each 15 s. */
const SILENCE_MS = 20_000;
const RETRY_MS = { least: 250, most: 4_000 };

/** How the connection is. */
export const connection = signal<Connection>('connecting');
/** When the last message came, by this machine's clock. */
export const lastHeard = signal(Date.now());

const subscriptions = new Map<string, Subscription>();
let socket: WebSocket | undefined;
let retryMs = RETRY_MS.least;
let retry: ReturnType<typeof setTimeout> | undefined;
let heardAt = Date.now();
let wasLive = false;

/** Begins or replaces a subscription. */
export function subscribe(id: string, query: StreamQuery, handlers: Handlers): void {
  subscriptions.set(id, { query, handlers, place: undefined });
  order('subscribe', id);
}

export function unsubscribe(id: string): void {
  if (subscriptions.delete(id)) order('unsubscribe', id);
}

/** Connects, and again whenever the connection is lost. */
export function connect(): void {
  clearTimeout(retry);
  const opening = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/ws`);
  socket = opening;
  opening.onopen = () => {
    retryMs = RETRY_MS.least;
    heard();
    for (const id of subscriptions.keys()) order('subscribe', id);
    connection.value = 'live';
    if (wasLive) for (const { handlers } of subscriptions.values()) handlers.missed?.();
    wasLive = true;
  };
  opening.onmessage = ({ data }) => {
    heard();
    take(JSON.parse(data as string));
  };
  opening.onclose = () => {
    if (socket === opening) lost();
  };
}

/** Drops the connection and makes another, as after a login. */
export function reconnect(): void {
  socket?.close();
  socket = undefined;
  connect();
}

function lost(): void {
  socket = undefined;
  if (wasLive) connection.value = 'stale';
  // Not all pages at once, when a service comes back.
  retry = setTimeout(connect, retryMs * (0.5 + Math.random() / 2));
  retryMs = Math.min(retryMs * 2, RETRY_MS.most);
}

function heard(): void {
  heardAt = Date.now();
  // A signal that changes a thousand times a second would cost more than what it tells.
  if (heardAt - lastHeard.peek() > 250) lastHeard.value = heardAt;
}

function order(op: 'subscribe' | 'unsubscribe', id: string): void {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const known = subscriptions.get(id);
  const more = op === 'subscribe' && known ? { query: known.query, last_event_id: known.place } : {};
  socket.send(JSON.stringify({ op, id, ...more }));
}

interface Message {
  event: string;
  subscription?: string;
  id?: string;
  data: unknown;
}

function take({ event, subscription: name, id, data }: Message): void {
  const known = name === undefined ? undefined : subscriptions.get(name);
  if (name === undefined || !known) return;
  if (id !== undefined) known.place = id;
  const { handlers } = known;
  switch (event) {
    case 'tick':
      return handlers.tick?.(data as Tick);
    case 'value':
      return handlers.value?.(data as Values);
    case 'bar':
      return handlers.bar?.(data as Bar);
    case 'signal':
      return handlers.signal?.(data as Signal);
    case 'gap':
      return handlers.missed?.();
    case 'error':
      // The place is of another log, of which no signal is here.
      if (known.place === undefined) return;
      known.place = undefined;
      order('subscribe', name);
      return handlers.missed?.();
  }
}

setInterval(() => {
  if (socket?.readyState === WebSocket.OPEN && Date.now() - heardAt > SILENCE_MS) {
    socket.close();
    lost();
  }
}, 1_000);

// A page that was hidden, or a machine that slept, need not wait for the next try.
for (const event of ['online', 'focus', 'visibilitychange']) {
  window.addEventListener(event, () => {
    if (socket === undefined && wasLive) connect();
  });
}
