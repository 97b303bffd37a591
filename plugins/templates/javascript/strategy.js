// Signals where the close crosses its exponential average.
export const about = { name: '{{name}}', version: '0.1.0', help: 'Signals where the close crosses its exponential average.' };
export const columns = ['close'];
export const params = { period: { integer: 20, min: 1, max: 10_000, help: 'Ticks in the average.' } };
export const series = { ema: { placement: 'over-price', help: 'The average.' } };
export const warmUpTicks = (params) => params.period;

// What is kept for one symbol, at its first tick.
export const fresh = () => ({ ticks: 0, ema: 0, side: 0 });

export function onTick(state, params, tick, out) {
  const decay = (params.period - 1) / (params.period + 1);
  if (state.ticks < params.period) state.ema += (tick.close - state.ema) / ++state.ticks;
  else state.ema = tick.close + decay * (state.ema - tick.close);
  if (state.ticks < params.period) return;
  out.value('ema', state.ema);
  const side = Math.sign(tick.close - state.ema);
  if (side * state.side < 0) {
    if (side > 0) out.buy(0.5, 'close crossed above its average');
    else out.sell(0.5, 'close crossed below its average');
  }
  state.side = side || state.side;
}
