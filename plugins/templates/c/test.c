/* Tests of the strategy, natively: cc -o build/test test.c strategy.c && build/test */
#include "wigwag.h"

#include <stdio.h>
#include <stdlib.h>

struct wigwag_out {
    char signal;
    double value;
    bool has_value;
};

void wigwag_value(wigwag_out *out, size_t series, double value) {
    (void)series;
    out->value = value;
    out->has_value = true;
}
void wigwag_buy(wigwag_out *out, double strength, const char *reason) {
    (void)strength, (void)reason;
    out->signal = 'b';
}
void wigwag_sell(wigwag_out *out, double strength, const char *reason) {
    (void)strength, (void)reason;
    out->signal = 's';
}
void wigwag_log(const char *message) { puts(message); }

static int failed;

static void expect(bool holds, const char *claim) {
    printf("%s: %s\n", holds ? "ok" : "FAILED", claim);
    failed |= !holds;
}

int main(void) {
    double closes[] = {3, 2, 1, 4, 1}, period[] = {3};
    void *state = calloc(1, wigwag.state_bytes);
    wigwag_out said[5] = {0};
    for (int n = 0; n < 5; n++) {
        wigwag_tick tick = {.close = closes[n]};
        wigwag.on_tick(state, period, &tick, &said[n]);
    }
    expect(!said[1].has_value && said[2].value == 2, "the average of the first ticks is their mean");
    expect(!said[2].signal && said[3].signal == 'b' && said[4].signal == 's', "a crossing is a signal");
    free(state);
    return failed;
}
