/* Signals where the close crosses its exponential average. */
#include "wigwag.h"

typedef struct { uint32_t ticks; int32_t side; double ema; } symbol_state;

static uint32_t warm_up_ticks(const double *params) { return (uint32_t)params[0]; }

static void on_tick(void *of_symbol, const double *params, const wigwag_tick *tick, wigwag_out *out) {
    symbol_state *state = of_symbol;
    double period = params[0], decay = (period - 1) / (period + 1), close = tick->close;
    if (state->ticks < period) state->ema += (close - state->ema) / ++state->ticks;
    else state->ema = close + decay * (state->ema - close);
    if (state->ticks < period) return;
    wigwag_value(out, 0, state->ema);
    int side = (close > state->ema) - (close < state->ema);
    if (side > 0 && state->side < 0) wigwag_buy(out, 0.5, "close crossed above its average");
    if (side < 0 && state->side > 0) wigwag_sell(out, 0.5, "close crossed below its average");
    if (side != 0) state->side = side;
}

const wigwag_strategy wigwag = {
    .name = "{{name}}", .version = "0.1.0", .help = "Signals where the close crosses its exponential average.",
    WIGWAG_PARAMS({"period", "Ticks in the average.", true, 20, 1, 10000}),
    WIGWAG_SERIES({"ema", "The average.", true}),
    .columns = WIGWAG_CLOSE, .state_bytes = sizeof(symbol_state), .warm_up_ticks = warm_up_ticks, .on_tick = on_tick,
};
