/* Between the contract (wit/plugin.wit, bindings in build/plugin.h) and strategy.c: columns to ticks, values, signals, and
 * states as bytes.
 *
 * Not to be changed for a strategy that reads ticks; where it reads events, or keeps what belongs to no symbol, this is the
 * place. */
#include "wigwag.h"

#include "build/plugin.h"

#include <stdlib.h>
#include <string.h>

/* A list that grows. */
typedef struct {
    void *ptr;
    size_t len, room;
} list;

static void *push(list *list, size_t size) {
    if (list->len == list->room) {
        list->room = list->room ? 2 * list->room : 16;
        list->ptr = realloc(list->ptr, list->room * size);
        if (!list->ptr) abort();
    }
    return (char *)list->ptr + size * list->len++;
}

static void push_number(list *list, double number) { *(double *)push(list, sizeof number) = number; }
static void push_index(list *list, uint32_t index) { *(uint32_t *)push(list, sizeof index) = index; }

struct wigwag_out {
    uint32_t row;
    double *values;
    list row_of, opinion_of, strengths, opinions;
};

static double *params;
static double *row_values;
/* By symbol; NULL for one that was never seen. */
static void **states;
static size_t states_len;

static void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory) abort();
    return memory;
}

/* A copy that the bindings free. */
static plugin_string_t text(const char *from) {
    size_t len = strlen(from);
    return (plugin_string_t){memcpy(allocate(len), from, len), len};
}

void wigwag_log(const char *message) {
    plugin_string_t line = {(uint8_t *)message, strlen(message)};
    wigwag_plugin_host_log(WIGWAG_PLUGIN_HOST_LEVEL_INFO, &line);
}

void wigwag_value(wigwag_out *out, size_t series, double value) {
    if (series < wigwag.series_len) out->values[series] = value;
}

static void say(wigwag_out *out, wigwag_plugin_types_side_t side, double strength, const char *reason) {
    push_index(&out->row_of, out->row);
    push_index(&out->opinion_of, (uint32_t)out->opinions.len);
    push_number(&out->strengths, strength);
    *(wigwag_plugin_types_opinion_t *)push(&out->opinions, sizeof(wigwag_plugin_types_opinion_t)) =
        (wigwag_plugin_types_opinion_t){side, text(reason)};
}

void wigwag_buy(wigwag_out *out, double strength, const char *reason) {
    say(out, WIGWAG_PLUGIN_TYPES_SIDE_BUY, strength, reason);
}

void wigwag_sell(wigwag_out *out, double strength, const char *reason) {
    say(out, WIGWAG_PLUGIN_TYPES_SIDE_SELL, strength, reason);
}

static void *state_of(uint32_t symbol) {
    if (!states[symbol]) states[symbol] = allocate(wigwag.state_bytes);
    return states[symbol];
}

void exports_wigwag_plugin_strategy_describe(exports_wigwag_plugin_strategy_description_t *ret) {
    ret->name = text(wigwag.name);
    ret->version = text(wigwag.version);
    ret->help = text(wigwag.help);
    ret->columns = (wigwag_plugin_types_columns_t)wigwag.columns;
    ret->events = 0;
    ret->params.len = wigwag.params_len;
    ret->params.ptr = allocate(wigwag.params_len * sizeof *ret->params.ptr);
    for (size_t n = 0; n < wigwag.params_len; n++) {
        const wigwag_param *param = &wigwag.params[n];
        wigwag_plugin_types_param_t *to = &ret->params.ptr[n];
        to->name = text(param->name);
        to->help = text(param->help);
        if (param->is_integer) {
            to->kind.tag = WIGWAG_PLUGIN_TYPES_PARAM_KIND_INTEGER;
            to->kind.val.integer = (wigwag_plugin_types_integer_range_t){
                (int64_t)param->standard, (int64_t)param->least, (int64_t)param->greatest};
        } else {
            to->kind.tag = WIGWAG_PLUGIN_TYPES_PARAM_KIND_NUMBER;
            to->kind.val.number =
                (wigwag_plugin_types_number_range_t){param->standard, param->least, param->greatest};
        }
    }
    ret->series.len = wigwag.series_len;
    ret->series.ptr = allocate(wigwag.series_len * sizeof *ret->series.ptr);
    for (size_t n = 0; n < wigwag.series_len; n++) {
        const wigwag_series *series = &wigwag.series[n];
        ret->series.ptr[n] = (wigwag_plugin_types_series_t){
            text(series->name), text(series->help),
            series->is_over_price ? WIGWAG_PLUGIN_TYPES_PLACEMENT_OVER_PRICE : WIGWAG_PLUGIN_TYPES_PLACEMENT_OWN_PANE};
    }
}

bool exports_wigwag_plugin_strategy_configure(exports_wigwag_plugin_strategy_list_tuple2_string_param_value_t *given,
                                              exports_wigwag_plugin_strategy_configuration_t *ret,
                                              exports_wigwag_plugin_strategy_list_param_error_t *err) {
    (void)err;
    params = allocate(given->len * sizeof *params);
    row_values = allocate(wigwag.series_len * sizeof *row_values);
    /* In the order of the description, types and ranges already checked. */
    for (size_t n = 0; n < given->len; n++) {
        exports_wigwag_plugin_strategy_param_value_t *value = &given->ptr[n].f1;
        params[n] = value->tag == WIGWAG_PLUGIN_TYPES_PARAM_VALUE_INTEGER ? (double)value->val.integer
                                                                          : value->val.number;
        plugin_string_free(&given->ptr[n].f0);
    }
    free(given->ptr);
    ret->warm_up_ticks = wigwag.warm_up_ticks(params);
    return true;
}

void exports_wigwag_plugin_strategy_define_symbols(uint32_t first, plugin_list_string_t *names) {
    size_t len = first + names->len;
    if (len > states_len) {
        states = realloc(states, len * sizeof *states);
        if (!states) abort();
        memset(states + states_len, 0, (len - states_len) * sizeof *states);
        states_len = len;
    }
    plugin_list_string_free(names);
}

void exports_wigwag_plugin_strategy_on_batch(exports_wigwag_plugin_strategy_batch_t *batch,
                                             exports_wigwag_plugin_strategy_output_t *ret) {
    wigwag_out out = {.values = row_values};
    list signal_values = {0}, values = {0};
    size_t wanted = 0;
    for (size_t row = 0; row < batch->symbol.len; row++) {
#define COLUMN(column) batch->column.len ? batch->column.ptr[row] : 0
        wigwag_tick tick = {batch->symbol.ptr[row], COLUMN(time), COLUMN(open), COLUMN(high),
                            COLUMN(low),            COLUMN(close), COLUMN(volume)};
        out.row = (uint32_t)row;
        for (size_t n = 0; n < wigwag.series_len; n++) row_values[n] = __builtin_nan("");
        size_t before = out.row_of.len;
        wigwag.on_tick(state_of(tick.symbol), params, &tick, &out);
        for (; before < out.row_of.len; before++)
            for (size_t n = 0; n < wigwag.series_len; n++) push_number(&signal_values, row_values[n]);
        if (wanted < batch->wanted.len && batch->wanted.ptr[wanted] == row) {
            wanted++;
            for (size_t n = 0; n < wigwag.series_len; n++) push_number(&values, row_values[n]);
        }
    }
    exports_wigwag_plugin_strategy_batch_free(batch);
    ret->signals.row = (plugin_list_u32_t){out.row_of.ptr, out.row_of.len};
    ret->signals.opinion = (plugin_list_u32_t){out.opinion_of.ptr, out.opinion_of.len};
    ret->signals.strength = (plugin_list_f64_t){out.strengths.ptr, out.strengths.len};
    ret->signals.values = (plugin_list_f64_t){signal_values.ptr, signal_values.len};
    ret->signals.opinions = (wigwag_plugin_types_list_opinion_t){out.opinions.ptr, out.opinions.len};
    ret->values = (plugin_list_f64_t){values.ptr, values.len};
}

void exports_wigwag_plugin_strategy_snapshot(plugin_list_u32_t *symbols, plugin_list_list_u8_t *ret) {
    ret->len = symbols->len;
    ret->ptr = allocate(symbols->len * sizeof *ret->ptr);
    for (size_t n = 0; n < symbols->len; n++) {
        void *state = symbols->ptr[n] < states_len ? states[symbols->ptr[n]] : NULL;
        if (!state) continue;
        ret->ptr[n].len = wigwag.state_bytes;
        ret->ptr[n].ptr = memcpy(allocate(wigwag.state_bytes), state, wigwag.state_bytes);
    }
    plugin_list_u32_free(symbols);
}

bool exports_wigwag_plugin_strategy_restore(plugin_list_tuple2_u32_list_u8_t *given, plugin_string_t *err) {
    bool is_taken = true;
    for (size_t n = 0; n < given->len; n++) {
        uint32_t symbol = given->ptr[n].f0;
        plugin_list_u8_t *bytes = &given->ptr[n].f1;
        if (symbol >= states_len || (bytes->len && bytes->len != wigwag.state_bytes)) {
            is_taken = false;
        } else if (bytes->len) {
            memcpy(state_of(symbol), bytes->ptr, bytes->len);
        } else {
            free(states[symbol]);
            states[symbol] = NULL;
        }
        plugin_list_u8_free(bytes);
    }
    if (given->len) free(given->ptr);
    if (!is_taken) *err = text("a state has another size than this plugin's, or its symbol no name");
    return is_taken;
}

void exports_wigwag_plugin_strategy_snapshot_shared(plugin_list_u8_t *ret) { *ret = (plugin_list_u8_t){NULL, 0}; }

bool exports_wigwag_plugin_strategy_restore_shared(plugin_list_u8_t *state, plugin_string_t *err) {
    (void)err;
    plugin_list_u8_free(state);
    return true;
}
