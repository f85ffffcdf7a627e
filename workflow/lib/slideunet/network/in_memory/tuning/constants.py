"""Threshold and constants of the separation, chosen by the mean score over sources."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from slideunet.cells.separation.decoding import Method, fitting_methods
from slideunet.network.training.tune_cells import Tried, chosen_decodings, try_decodings
from slideunet.network.training.validation import best_threshold, dice_by_threshold
from slideunet.truth.ignore_label import foreground_and_valid

Shown = tuple[np.ndarray, dict[str, np.ndarray]]
"""Ground truth (y, x) uint32 of an image, and its maps (y, x) uint8 by name."""
Predicted = dict[str, list[Shown]]
"""The images of each source."""


def tune(shown: Iterable[tuple[str, Shown]], maps: Sequence[str]) -> dict[str, Any]:
    """Return "threshold" and "decodings" for `model.json`.

    Parameters
    ----------
    shown : iterable of (source, Shown)
        Validation images.
    maps : sequence of str
        Names of the maps.
    """
    predicted: Predicted = {}
    for source, one in shown:
        predicted.setdefault(source, []).append(one)
    threshold = _threshold(predicted)
    counted: list[dict[Method, Tried]] = []
    for ones in predicted.values():
        counted.append({method: {} for method in fitting_methods(maps)})
        for labels, planes in ones:
            try_decodings(counted[-1], labels, planes, threshold)
    return {"threshold": threshold, "decodings": chosen_decodings(counted)}


def _threshold(predicted: Predicted) -> float:
    """Return the threshold with the best mean over sources of the Dice of all their pixels."""
    dice = []
    for ones in predicted.values():
        counts = np.zeros((2, 256), np.int64)
        for labels, maps in ones:
            true, valid = foreground_and_valid(labels)
            for row, where in enumerate((true, valid & ~true)):
                counts[row] += np.bincount(maps["foreground"][where], minlength=256)
        dice.append(dice_by_threshold(*counts))
    return best_threshold(np.mean(dice, axis=0))
