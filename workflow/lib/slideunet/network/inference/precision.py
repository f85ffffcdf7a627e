"""A precision, chosen by timing: a processor may claim bf16 and be many times slower in it."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence

import torch

from slideunet.logs import with_lines
from slideunet.model_json import Precision

_FASTER = 1.2  # A precision must be this much faster than a more exact one to be worth its rounding.
_LEAST, _ENOUGH_S = 2, 10.0


def reduced_precision(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager:
    """Return a context in which convolutions run in bf16; for fp32 one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def choose_precision(
    step: Callable[[Precision], object],
    precisions: Sequence[Precision] = ("fp32", "bf16"),
    repeats: int = 6,
) -> tuple[Precision, dict[Precision, float]]:
    """Time a step in several precisions on this machine, the most exact first, and choose.

    A processor may claim bf16 and be many times slower in it, so for much work it is timed.
    They take turns and the best time of each counts, so that other load on the machine does not decide.
    Long steps, on a slow or busy machine, are timed twice at least, and not again after ten seconds.

    Returns
    -------
    The precision, and the best time of each in seconds.
    """
    seconds: dict[Precision, float] = dict.fromkeys(precisions, math.inf)
    begun = time.perf_counter()
    for repeat in with_lines(range(repeats + 1), "Choosing the precision: round", repeats + 1):
        if repeat > _LEAST and time.perf_counter() - begun > _ENOUGH_S:
            break
        for precision, best in seconds.items():
            start = time.perf_counter()
            step(precision)
            # The first call of a shape prepares its kernels.
            if repeat > 0:
                seconds[precision] = min(best, time.perf_counter() - start)
    chosen = precisions[0]
    for precision in precisions[1:]:
        if seconds[chosen] > _FASTER * seconds[precision]:
            chosen = precision
    return chosen, seconds
