// The API's JSON as this page reads it; described in full by /openapi.json.

export type Side = 'buy' | 'sell';

export const INTERVALS = { '1s': 1, '1m': 60, '5m': 300, '1h': 3600, '1d': 86400 } as const;
export type Interval = keyof typeof INTERVALS;

export interface Session {
  symbol: string;
  timestamp: number;
  open: number;
  high: number;
  low: number;
  last: number;
  change: number;
  change_percent: number;
  volume: number;
  vwap: number | null;
  ticks: number;
  late: number;
  repeats: number;
}

export interface Tick {
  symbol: string;
  timestamp: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

export interface Bar {
  symbol: string;
  interval: Interval;
  open_time: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

export interface Values {
  strategy: string;
  symbol: string;
  timestamp: number;
  series: Record<string, number>;
}

export interface Signal {
  schema: number;
  id: string;
  strategy: string;
  plugin: string;
  plugin_digest: string;
  params_digest: string;
  symbol: string;
  side: Side;
  strength: number;
  price: number;
  timestamp: number;
  /** The bar that caused it, of a strategy that reads bars. */
  bar?: { interval: Interval; open_time: number };
  reason: string;
  values: Record<string, number>;
  partition: number;
  offset: number;
  row: number;
  n: number;
}

export type ParamValue = number | boolean | string;

export interface ParamInfo {
  name: string;
  help: string;
  kind: 'integer' | 'number' | 'boolean' | 'choice';
  default: ParamValue;
  min?: number;
  max?: number;
  options?: string[];
}

export interface SeriesInfo {
  name: string;
  help: string;
  placement: 'over-price' | 'own-pane';
}

export interface PluginInfo {
  name: string;
  version: string;
  digest: string;
  help: string;
  params: ParamInfo[];
  columns: string[];
  events: string[];
  series: SeriesInfo[];
  size_bytes: number;
}

/** How far an upload is that takes longer, or what became of it. */
export interface UploadStatus {
  digest: string;
  state: 'working' | 'done' | 'refused';
  plugin: PluginInfo | null;
  problem: { detail?: string; stage?: string } | null;
}

export interface PartitionState {
  partition: number;
  status: string;
  since_offset: number | null;
  reason: string | null;
  skipped_rows: number;
}

/** What a strategy reads: each tick, or each bar of an interval. */
export type StrategyInput = 'ticks' | { bars: Interval };

export interface StrategyRequest {
  plugin: string;
  params: Record<string, ParamValue>;
  symbols: string[] | null;
  input: StrategyInput;
  values_interval_ms: number;
  enabled: boolean;
}

export interface StrategyInfo extends StrategyRequest {
  id: string;
  plugin_digest: string;
  params_digest: string;
  version: number;
  etag: string;
  state: PartitionState[];
  shadow?: { plugin: string; plugin_digest: string; params: Record<string, ParamValue> } | null;
}

export interface SessionState {
  name: string | null;
  scopes: string[];
  may_read: boolean;
}

export interface WebhookInfo {
  id: string;
  url: string;
  description: string;
  format: 'standard' | 'slack';
  symbols: string[] | null;
  strategies: string[] | null;
  side: Side | null;
  enabled: boolean;
  version: number;
  state: 'live' | 'failing' | 'disabled';
  reason: string | null;
  delivered: number;
  due: number;
  dead: number;
}

export interface AttemptInfo {
  signal: string;
  attempt: number;
  time: number;
  duration_ms: number;
  status: number | null;
  error: string | null;
  result: 'delivered' | 'retry' | 'dead';
  next_attempt: number | null;
}

export interface DeadLetter {
  signal: string;
  attempts: number;
  time: number;
  cause: string;
}
