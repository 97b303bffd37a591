"""Signals where the close crosses its exponential average."""

NAME, VERSION, HELP = "{{name}}", "0.1.0", "Signals where the close crosses its exponential average."
COLUMNS = ["close"]
PARAMS = {"period": (20, 1, 10_000, "Ticks in the average.")}
SERIES = {"ema": ("over-price", "The average.")}
STATE = {"ticks": 0, "ema": 0.0, "side": 0}  # what is kept for one symbol, at its first tick


def warm_up_ticks(params):
    return params["period"]


def on_tick(state, params, tick, out):
    decay = (params["period"] - 1) / (params["period"] + 1)
    state["ticks"] += state["ticks"] < params["period"] + 1
    if state["ticks"] <= params["period"]:
        state["ema"] += (tick.close - state["ema"]) / state["ticks"]
    else:
        state["ema"] = tick.close + decay * (state["ema"] - tick.close)
    if state["ticks"] >= params["period"]:
        out.value("ema", state["ema"])
        side = (tick.close > state["ema"]) - (tick.close < state["ema"])
        if side * state["side"] < 0:
            (out.buy if side > 0 else out.sell)(0.5, f"close crossed {'above' if side > 0 else 'below'} its average")
        state["side"] = side or state["side"]
