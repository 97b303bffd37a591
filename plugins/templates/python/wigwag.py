"""Between the contract (wit/plugin.wit) and strategy.py: columns to ticks, values, signals, and states as JSON.

Not to be changed for a strategy that reads ticks; where it reads events, or keeps what belongs to no symbol, this is the
place.
"""

import builtins
import copy
import functools
import json
import random
import time
import traceback

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import host, types

import strategy


def refuse(what, instead):
    def refused(*_args, **_kwargs):
        raise RuntimeError(f"{what} was asked for, which plugins do not get; {instead}")

    return refused


# Asked for in strategy.py, these would give the same constant for ever, or nothing: better said.
for name in ("time", "time_ns", "monotonic", "perf_counter", "sleep"):
    setattr(time, name, refuse(f"the clock (time.{name})", "read tick.time"))
for name in ("random", "randint", "choice", "shuffle", "gauss", "uniform"):
    setattr(random, name, refuse(f"randomness (random.{name})", "compute from ticks and parameters alone"))
builtins.open = refuse("a file (open)", "put what the strategy needs into its parameters or its source")

SERIES = list(strategy.SERIES)
COLUMNS = ["time", "open", "high", "low", "close", "volume"]
READ = [column for column in COLUMNS if column in strategy.COLUMNS]


def telling(call):
    """An exception has no way out of a component: its message goes to the log, where the host looks for it."""

    @functools.wraps(call)
    def told(*args):
        try:
            return call(*args)
        except Err:
            raise
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            host.log(host.Level.ERROR, f"{type(error).__name__}: {error} ({at.filename}:{at.lineno})")
            raise

    return told


class Tick:
    """A row of the columns that the strategy reads."""

    __slots__ = ("symbol", *COLUMNS)


class Out:
    """Takes what the strategy says at one tick."""

    __slots__ = ("values", "signals")

    def value(self, series, value):
        self.values[SERIES.index(series)] = value

    def buy(self, strength, reason):
        self.signals.append((types.Side.BUY, strength, reason))

    def sell(self, strength, reason):
        self.signals.append((types.Side.SELL, strength, reason))


def kind(default, least, greatest):
    """What a parameter accepts: a whole number, a number, or true and false."""
    if isinstance(default, bool):
        return types.ParamKind_Boolean(default)
    if isinstance(default, int):
        return types.ParamKind_Integer(types.IntegerRange(default, least, greatest))
    return types.ParamKind_Number(types.NumberRange(default, least, greatest))


class Strategy(exports.Strategy):
    """What the host calls, each time on another object of this class: what stays belongs to the class."""

    params, names, states = {}, {}, {}

    @telling
    def describe(self):
        columns = types.Columns(0)
        for column in READ:
            columns |= types.Columns[column.upper()]
        params = [types.Param(name, text, kind(*rule)) for name, (*rule, text) in strategy.PARAMS.items()]
        series = [
            types.Series(name, text, types.Placement[placement.replace("-", "_").upper()])
            for name, (placement, text) in strategy.SERIES.items()
        ]
        events = types.EventKinds(0)
        return types.Description(
            strategy.NAME, strategy.VERSION, strategy.HELP, params, columns, events, series
        )

    @telling
    def configure(self, params):
        self.params.update((name, value.value) for name, value in params)
        return types.Configuration(strategy.warm_up_ticks(self.params))

    @telling
    def define_symbols(self, first, names):
        self.names.update(enumerate(names, first))

    @telling
    def on_batch(self, batch):
        row_of, opinion_of, strengths, signal_values, opinions = [], [], [], [], []
        values, wanted = [], iter(batch.wanted)
        next_wanted = next(wanted, None)
        columns = [getattr(batch, column) for column in READ]
        tick, out = Tick(), Out()
        for row, symbol in enumerate(batch.symbol):
            state = self.states.get(symbol)
            if state is None:
                state = self.states[symbol] = copy.deepcopy(strategy.STATE)
            tick.symbol = self.names[symbol]
            for column, numbers in zip(READ, columns):
                setattr(tick, column, numbers[row])
            out.values, out.signals = [float("nan")] * len(SERIES), []
            strategy.on_tick(state, self.params, tick, out)
            for side, strength, reason in out.signals:
                row_of.append(row)
                opinion_of.append(len(opinions))
                strengths.append(strength)
                signal_values.extend(out.values)
                opinions.append(types.Opinion(side, reason))
            if row == next_wanted:
                values.extend(out.values)
                next_wanted = next(wanted, None)
        signals = types.Signals(row_of, opinion_of, strengths, signal_values, opinions)
        return types.Output(signals, values)

    @telling
    def snapshot(self, symbols):
        return [json.dumps(self.states[symbol]).encode() if symbol in self.states else b"" for symbol in symbols]

    def restore(self, states):
        for symbol, state in states:
            try:
                if state:
                    self.states[symbol] = json.loads(state)
                else:
                    self.states.pop(symbol, None)
            except ValueError as error:
                raise Err(f"the state of symbol {symbol} is no JSON: {error}") from error

    def snapshot_shared(self):
        return b""

    def restore_shared(self, state):
        pass
