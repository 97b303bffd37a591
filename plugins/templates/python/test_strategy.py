"""Tests of the strategy, in this machine's Python: python3 -m unittest"""

import copy
import types
import unittest

import strategy


class Recorder:
    """Takes what a strategy says."""

    def __init__(self):
        self.signals, self.values = [], {}

    def value(self, series, value):
        self.values[series] = value

    def buy(self, strength, reason):
        self.signals.append("buy")

    def sell(self, strength, reason):
        self.signals.append("sell")


def run(closes, **params):
    """The signals at each of these closes."""
    state, said = copy.deepcopy(strategy.STATE), []
    for close in closes:
        out = Recorder()
        strategy.on_tick(state, params, types.SimpleNamespace(close=close), out)
        said.append((out.signals, out.values))
    return said


class TheStrategy(unittest.TestCase):
    def test_a_crossing_is_a_signal(self):
        said = run([3.0, 2.0, 1.0, 4.0, 1.0], period=3)
        self.assertEqual([signals for signals, _ in said], [[], [], [], ["buy"], ["sell"]])

    def test_the_average_of_the_first_ticks_is_their_mean(self):
        said = run([3.0, 2.0, 1.0], period=3)
        self.assertEqual([values for _, values in said], [{}, {}, {"ema": 2.0}])


if __name__ == "__main__":
    unittest.main()
