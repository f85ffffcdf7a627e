"""The learning rate of a step, as a pure function: a resumed training needs no scheduler state."""

import math
from typing import Literal

Schedule = Literal["cosine", "constant"]


def learning_rate(step: int, *, peak: float, total: int, warmup: int, schedule: Schedule) -> float:
    """Return the learning rate of one step.

    Parameters
    ----------
    step : int
        From 0 to total - 1.
    peak : float
        Reached at the end of the warm-up.
    total : int
        Steps of the whole training.
    warmup : int
        Steps of linear increase; at most a tenth of the training.
    schedule : str
        "cosine": half a cosine to zero (Loshchilov & Hutter 2017, arXiv:1608.03983); "constant".
    """
    warmup = min(warmup, total // 10)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    t = (step - warmup) / max(total - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * t)) if schedule == "cosine" else peak
