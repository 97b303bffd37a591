// A small line of the last readings. What it shows stands beside it as a number.

const [WIDTH, HEIGHT] = [160, 32];

export function Spark({ values }: { values: (number | null)[] }) {
  const known = values.map((value) => value ?? 0);
  const most = Math.max(...known, Number.MIN_VALUE);
  const step = WIDTH / Math.max(known.length - 1, 1);
  const points = known.map((value, n) => `${(n * step).toFixed(1)},${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`);
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(' ')} vector-effect="non-scaling-stroke" />
    </svg>
  );
}
