"""Which scale suits cells of a diameter; torch, which takes seconds to load, is not needed for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slideunet.cells.separation.decoding import Decoding, Method, decoding_for
from slideunet.errors import InputError
from slideunet.model_json import best_diameters

LARGEST, SMALLEST = 8.0, 0.5  # Scales: an enlarged slide costs four times the time.


@dataclass(frozen=True)
class Sizing:
    """How the scale of a slide is chosen.

    Attributes
    ----------
    best : (float, float)
        Smallest and largest diameter in pixels at which the model is at its best.
    diameter : float or None
        Diameter of the cells in pixels of the slide; None: it is measured on every slide.
    decoding : Decoding
        Separation of the cells that are measured.
    """

    best: tuple[float, float]
    diameter: float | None
    decoding: Decoding


def sizing_for(
    facts: Mapping[str, Any], diameter: float | Literal["auto"] | None, method: Method | Literal["auto"]
) -> Sizing | None:
    """Return how the scale is chosen by `cells.diameter`, given `model.json`; None: no slide is scaled.

    Models that were not tuned for it (`diameter.best`) see every slide as it is, unless a diameter is given:
    then their best diameters are those of 90 % of the cells that they learned from.

    Raises
    ------
    InputError
        When a diameter is given and `model.json` does not have those of its training.
    """
    best = best_diameters(facts)
    if diameter is None or (diameter == "auto" and "best" not in facts.get("diameter", {})):
        return None
    if best is None:
        raise InputError("cells.diameter: model.json does not have the cell diameters of the training.")
    given = None if diameter == "auto" else float(diameter)
    return Sizing(best, given, decoding_for(facts, method=method))


def given_scale(sizing: Sizing | None) -> dict[str, Any] | None:
    """Return "scale" and "diameter" where they do not depend on the slide, else None; see `choose_scale`."""
    if sizing is None:
        return {"scale": 1.0, "diameter": None}
    if sizing.diameter is None:
        return None
    return {"scale": scale_for(sizing.diameter, sizing.best), "diameter": sizing.diameter}


def scale_for(diameter: float, best: tuple[float, float]) -> float:
    """Return the pixels of a slide per pixel that the network sees, a power of two, for cells of a diameter.

    The scale is the nearest to 1 that makes cells as small as `best[1]`, or as large as `best[0]`, within
    `SMALLEST` and `LARGEST`.
    """
    low, high = best
    if diameter > high:
        return float(min(2 ** math.ceil(math.log2(diameter / high)), LARGEST))
    if diameter < low:
        return max(2.0 ** math.floor(math.log2(diameter / low)), SMALLEST)
    return 1.0
