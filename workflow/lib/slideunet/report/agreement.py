"""Agreement of predicted and true numbers of cells per slide (Bland & Altman 1986, Lancet 327:307)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideunet.report.results import SlideResult
from slideunet.scoring.derived import derived_value
from slideunet.scoring.intervals import interval_of

WIDTH = 1.96
"""Standard deviations from the bias to a limit: 95 % of the differences, if they are normal."""


def count_error(result: SlideResult) -> int:
    """Return predicted minus true cells of a scored slide."""
    cells = result.score.instances if result.score else None
    return cells.n_pred - cells.n_true if cells else 0


def count_error_percent(result: SlideResult) -> float:
    """Return `count_error` in percent of the mean of both numbers, from -200 to 200; 0 without any cell."""
    cells = result.score.instances if result.score else None
    return 200 * count_error(result) / ((cells.n_pred + cells.n_true) or 1) if cells else 0.0


def agreement(results: Sequence[SlideResult], seed: int = 0) -> dict[str, Any]:
    """Summarise the differences of scored slides, in cells ("cells") and in percent ("percent").

    Returns
    -------
    dict
        Of each: "bias", the mean difference over slides; "lower" and "upper" limit of agreement, bias -+ 1.96
        sample standard deviations; and their intervals over groups. None where undefined: without slides,
        and the limits of a single one.
    """
    groups = [result.group for result in results]
    differences = {
        "cells": [float(count_error(result)) for result in results],
        "percent": [count_error_percent(result) for result in results],
    }
    return {unit: _limits(np.array(values), groups, seed) for unit, values in differences.items()}


def limit(side: float, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return bias + side * 1.96 * standard deviation, from the number (n,) and the sums of d and d^2."""
    n, total, squares = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        return total / n + (side * WIDTH * np.sqrt(variance) if side else 0)


def _limits(differences: NDArray[np.float64], groups: Sequence[str], seed: int) -> dict[str, Any]:
    counts = np.stack([np.ones_like(differences), differences, differences**2], axis=-1)
    found: dict[str, Any] = {}
    for name, side in (("bias", 0), ("lower", -1), ("upper", 1)):
        derive = partial(limit, side)
        found[name] = derived_value(derive, counts.sum(axis=0))
        found[f"{name}_interval"] = interval_of(derive, counts, groups, seed)
    return found
