// Numbers and times as text: always as many digits, so that columns stand still. Times are UTC, as sessions and bars are.

const formats = new Map<string, Intl.NumberFormat>();

function fixed(value: number, digits: number, sign: 'auto' | 'exceptZero' = 'auto'): string {
  const key = `${digits}${sign}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat('en-US', {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
      signDisplay: sign,
    });
    formats.set(key, format);
  }
  // The sign of a real minus is as wide as that of a plus.
  return format.format(value).replace('-', '−');
}

/** Digits after the point that these prices have: 2 at least, and no more than tell something at their size. */
export function digitsOf(...prices: number[]): number {
  const most = Math.max(...prices) >= 1 ? 4 : 8;
  const written = prices.map((price) => /\.(\d+)$/.exec(String(price))?.[1]?.length ?? 0);
  return Math.min(most, Math.max(2, ...written));
}

export const price = (value: number, digits: number) => fixed(value, digits);
export const signed = (value: number, digits: number) => fixed(value, digits, 'exceptZero');
export const percent = (value: number) => `${fixed(value, 2, 'exceptZero')} %`;
export const number = (value: number, digits = 0) => fixed(value, digits);

/** An indicator's value: as many digits as tell something. */
export function figure(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(3);
  return fixed(value, size >= 1 ? 2 : 4);
}

/** 1,234,567 as 1.23 M. */
export function short(value: number): string {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]] as const) {
    if (Math.abs(value) >= size) return `${fixed(value / size, 2)} ${unit}`;
  }
  return fixed(value, 0);
}

export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  return value >= 1 << 20 ? `${fixed(value / (1 << 20), 1)} MB` : `${fixed(value / 1024, 0)} kB`;
}

/** Seconds as the unit that suits them. */
export function duration(seconds: number): string {
  if (seconds < 0.000_95) return `${fixed(seconds * 1e6, 0)} µs`;
  if (seconds < 0.95) return `${fixed(seconds * 1e3, seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 90) return `${fixed(seconds, seconds < 10 ? 1 : 0)} s`;
  if (seconds < 5_400) return `${fixed(seconds / 60, 0)} min`;
  return `${fixed(seconds / 3600, 1)} h`;
}

const iso = (seconds: number) => new Date(seconds * 1000).toISOString();

/** 14:03:27 */
export const clock = (seconds: number) => iso(seconds).slice(11, 19);
/** 14:03:27, or 2026-01-31 14:03:27 where that is not the day of `now`. */
export function moment(seconds: number, now = Date.now() / 1000): string {
  const day = (of: number) => iso(of).slice(0, 10);
  return day(seconds) === day(now) ? clock(seconds) : `${day(seconds)} ${clock(seconds)}`;
}
/** 2026-01-31 14:03:27.123 UTC */
export const instant = (seconds: number) => `${iso(seconds).slice(0, 23).replace('T', ' ')} UTC`;

/** How a side is written: in words and as a shape, so that the colour is not all that tells. */
export const SIDES = { buy: '▲ Buy', sell: '▼ Sell' } as const;

/** The first characters of a digest. */
export const digest = (hex: string) => hex.slice(0, 12);
