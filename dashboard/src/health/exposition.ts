// Reads the service's numbers as Prometheus would: text exposition format 0.0.4, of which only what this page shows is needed.

export interface Sample {
  labels: Record<string, string>;
  value: number;
}

export type Exposition = Map<string, Sample[]>;

export function parse(text: string): Exposition {
  const samples: Exposition = new Map();
  for (const line of text.split('\n')) {
    const parts = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!parts) continue;
    const [, name = '', labelText = '', value = ''] = parts;
    const labels: Record<string, string> = {};
    for (const [, key = '', quoted = ''] of labelText.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = quoted.replace(/\\(.)/g, (_, escaped) => (escaped === 'n' ? '\n' : escaped));
    }
    const of = samples.get(name) ?? [];
    of.push({ labels, value: value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value) });
    samples.set(name, of);
  }
  return samples;
}

/** Whether there is any number whose name begins so. */
export const hasAny = (of: Exposition, prefix: string) => [...of.keys()].some((name) => name.startsWith(prefix));

/** The sum over all labels. */
export const total = (of: Exposition, name: string) => (of.get(name) ?? []).reduce((sum, { value }) => sum + value, 0);

/** How many a second between two readings; none where there is no such counter, or where it began anew. */
export function rate(before: Exposition, after: Exposition, name: string, seconds: number): number | null {
  if (!after.has(name)) return null;
  const grown = total(after, name) - total(before, name);
  return grown >= 0 && seconds > 0 ? grown / seconds : null;
}

/** A quantile of what a histogram took in between two readings, within its buckets; none where that is nothing. */
export function quantile(before: Exposition, after: Exposition, name: string, q: number): number | null {
  const buckets = (of: Exposition) => {
    const sums = new Map<number, number>();
    for (const { labels, value } of of.get(`${name}_bucket`) ?? []) {
      const bound = labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.le);
      sums.set(bound, (sums.get(bound) ?? 0) + value);
    }
    return sums;
  };
  const old = buckets(before);
  const grown = [...buckets(after)].map(([bound, value]) => [bound, value - (old.get(bound) ?? 0)] as const);
  grown.sort(([a], [b]) => a - b);
  const all = grown.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let [below, counted] = [0, 0];
  for (const [bound, count] of grown) {
    if (count >= q * all) {
      if (bound === Number.POSITIVE_INFINITY || count === counted) return below;
      return below + (bound - below) * ((q * all - counted) / (count - counted));
    }
    [below, counted] = [bound, count];
  }
  return below;
}
