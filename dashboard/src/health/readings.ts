// The service's numbers over the last minutes, read while the panel is looked at.

import { signal } from '@preact/signals';
import { request } from '../api/http';
import { type Exposition, hasAny, parse, quantile, rate, total } from './exposition';

export interface Reading {
  at: number;
  /** Whether the process that answered runs an engine: each replica tells of itself alone. */
  hasEngine: boolean;
  ticks: number | null;
  signals: number | null;
  rejected: number | null;
  commit: { p50: number | null; p99: number | null };
  append: { p50: number | null; p99: number | null };
  /** Messages behind the log's end, by partition. */
  lag: { partition: number; messages: number; checkpointAge: number | null }[];
  streams: number;
  late: number;
  skipped: number;
  failures: number;
}

const EVERY_MS = 2_000;
const KEPT = 90;
/** Latencies are those of so many readings together: one alone holds few. */
const SPAN = 5;

export const readings = signal<readonly Reading[]>([]);
/** What keeps the service from being ready; empty where nothing does, null where it is not known. */
export const missing = signal<string[] | null>(null);

let raw: { at: number; of: Exposition }[] = [];

/** Reads again and again; answers how to stop it. */
export function follow(): () => void {
  const timer = setInterval(() => {
    if (!document.hidden) void read();
  }, EVERY_MS);
  void read();
  return () => clearInterval(timer);
}

async function read(): Promise<void> {
  const [numbers, ready] = await Promise.all([
    request('GET', '/metrics').catch(() => null),
    request('GET', '/readyz').catch(() => null),
  ]);
  missing.value = ready === null ? null : ready.status === 200 ? [] : ((ready.body as { errors?: string[] })?.errors ?? []);
  if (numbers?.status !== 200) return;
  const now = { at: performance.now() / 1000, of: parse(String(numbers.body)) };
  const before = raw.at(-1);
  raw = [...raw.slice(-SPAN), now];
  if (!before) {
    // The first has nothing to be compared with; the next comes soon.
    setTimeout(() => void read(), 500);
    return;
  }
  readings.value = [...readings.peek().slice(1 - KEPT), compare(before, now)];
}

function compare(before: { at: number; of: Exposition }, now: { at: number; of: Exposition }): Reading {
  const seconds = now.at - before.at;
  const oldest = raw[0]?.of ?? before.of;
  const latency = (name: string) => ({ p50: quantile(oldest, now.of, name, 0.5), p99: quantile(oldest, now.of, name, 0.99) });
  // A counter is told once it has counted something: before, it is none where its part of the service runs.
  const counted = (part: string, of: string) => {
    const name = `wigwag_${part}_${of}`;
    return now.of.has(name) || !hasAny(now.of, `wigwag_${part}_`) ? rate(before.of, now.of, name, seconds) : 0;
  };
  const ages = now.of.get('wigwag_engine_checkpoint_age_seconds') ?? [];
  const lag = (now.of.get('wigwag_engine_lag_messages') ?? []).map(({ labels, value }) => ({
    partition: Number(labels.partition),
    messages: value,
    checkpointAge: ages.find((age) => age.labels.partition === labels.partition)?.value ?? null,
  }));
  return {
    at: now.at,
    hasEngine: hasAny(now.of, 'wigwag_engine_'),
    ticks: counted('engine', 'ticks_total'),
    signals: counted('engine', 'signals_total'),
    rejected: counted('ingest', 'rejected_total'),
    commit: latency('wigwag_engine_commit_seconds'),
    append: latency('wigwag_ingest_append_seconds'),
    lag: lag.sort((a, b) => a.partition - b.partition),
    streams: total(now.of, 'wigwag_http_streams'),
    late: total(now.of, 'wigwag_engine_late_ticks_total'),
    skipped: total(now.of, 'wigwag_engine_skipped_rows_total'),
    failures: total(now.of, 'wigwag_engine_partition_failures_total'),
  };
}
