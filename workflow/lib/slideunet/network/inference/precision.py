"""fp32 or bf16, chosen by timing: a processor may claim bf16 and be many times slower in it."""

import contextlib
import math
import time
from collections.abc import Callable

import torch

from slideunet.logs import with_lines
from slideunet.model_json import Precision

_FASTER = 1.2  # bf16 must be this much faster to be worth its rounding.
_LEAST, _ENOUGH_S = 2, 10.0


def reduced_precision(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager:
    """Return a context in which convolutions run in bf16; for fp32 one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def choose_precision(
    step: Callable[[Precision], object], repeats: int = 6
) -> tuple[Precision, dict[Precision, float]]:
    """Time a step in fp32 and bf16 on this machine and choose.

    A processor may claim bf16 and be many times slower in it, so for much work it is timed.
    The two take turns and the best time of each counts, so that other load on the machine does not decide.
    Long steps, on a slow or busy machine, are timed twice at least, and not again after ten seconds.

    Returns
    -------
    "fp32" or "bf16", and the best time of each in seconds.
    """
    seconds: dict[Precision, float] = {"fp32": math.inf, "bf16": math.inf}
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
    return ("bf16" if seconds["fp32"] > _FASTER * seconds["bf16"] else "fp32"), seconds
