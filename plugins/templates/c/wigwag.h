/* What a strategy in C is written against; wigwag.c does the rest. Knows nothing of WebAssembly, so that tests run natively. */
#ifndef WIGWAG_H
#define WIGWAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The columns of a tick that a strategy reads; the others are 0. */
enum {
    WIGWAG_TIME = 1,
    WIGWAG_OPEN = 2,
    WIGWAG_HIGH = 4,
    WIGWAG_LOW = 8,
    WIGWAG_CLOSE = 16,
    WIGWAG_VOLUME = 32,
};

/* A parameter: a number of `least` to `greatest`, whole where it says so. */
typedef struct {
    const char *name, *help;
    bool is_integer;
    double standard, least, greatest;
} wigwag_param;

/* One output number a tick. */
typedef struct {
    const char *name, *help;
    bool is_over_price;
} wigwag_series;

typedef struct {
    uint32_t symbol;
    double time, open, high, low, close, volume;
} wigwag_tick;

/* Takes what a strategy says at one tick. */
typedef struct wigwag_out wigwag_out;

/* What a strategy is. Parameters arrive in the order of their declaration. */
typedef struct {
    const char *name, *version, *help;
    unsigned columns;
    const wigwag_param *params;
    size_t params_len;
    const wigwag_series *series;
    size_t series_len;
    /* What is kept for one symbol: plain data, all zeros at first; its bytes are the snapshot. */
    size_t state_bytes;
    uint32_t (*warm_up_ticks)(const double *params);
    void (*on_tick)(void *state, const double *params, const wigwag_tick *tick, wigwag_out *out);
} wigwag_strategy;

#define WIGWAG_PARAMS(...)                                                                                             \
    .params = (const wigwag_param[]){__VA_ARGS__},                                                                     \
    .params_len = sizeof((const wigwag_param[]){__VA_ARGS__}) / sizeof(wigwag_param)
#define WIGWAG_SERIES(...)                                                                                             \
    .series = (const wigwag_series[]){__VA_ARGS__},                                                                    \
    .series_len = sizeof((const wigwag_series[]){__VA_ARGS__}) / sizeof(wigwag_series)

/* The strategy of this plugin. */
extern const wigwag_strategy wigwag;

/* The value of a series, by its place in the declaration. Not called, there is none. */
void wigwag_value(wigwag_out *out, size_t series, double value);

/* A signal, of a strength from 0 to 1; the reason is one line of 1 to 200 bytes. */
void wigwag_buy(wigwag_out *out, double strength, const char *reason);
void wigwag_sell(wigwag_out *out, double strength, const char *reason);

/* A line in the strategy's log. */
void wigwag_log(const char *message);

#endif
