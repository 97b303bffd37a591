// A strength from 0 to 1, as a bar and as a number.

import { number } from '../shell/format';

export function Strength({ value }: { value: number }) {
  return (
    <span class="strength">
      <meter min={0} max={1} value={value} aria-label="strength" />
      {number(value, 2)}
    </span>
  );
}
