"""The levels of a pyramid: how many full-resolution pixels a pixel of each stands for, and which to read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, int]

AS_IT_IS = 0.01
"""A resolution that lies within 1 % of the wanted one is taken as it is: resampling would only blur it."""


@dataclass(frozen=True)
class Level:
    """One resolution of an image.

    Attributes
    ----------
    index : int
        Its number in the file.
    shape : tuple[int, int]
        (y, x), upright.
    step : tuple[float, float]
        Pixels of the full resolution per pixel of this level, along y and x.
    """

    index: int
    shape: Shape
    step: tuple[float, float]


def pyramid_levels(shapes: Sequence[Shape]) -> tuple[Level, ...]:
    """Tell the levels of a pyramid from their sizes.

    Pyramids halve sizes and round them, up or down, so 4443 and 2221 pixels are a step of exactly 2, not of
    2.0005: the last column is left out. Only where no whole step explains both sizes is the ratio taken. What
    is no smaller version of the first (another shape, not smaller) is left out.

    Parameters
    ----------
    shapes : sequence of (y, x)
        The full resolution first.

    Returns
    -------
    tuple[Level, ...]
        From fine to coarse.
    """
    full = shapes[0]
    levels = [Level(0, full, (1.0, 1.0))]
    for index, shape in enumerate(shapes[1:], start=1):
        step = _step(full, shape)
        if step is not None and min(step) > max(levels[-1].step):
            levels.append(Level(index, shape, step))
    return tuple(levels)


def best_level(levels: Sequence[Level], scale: float) -> Level:
    """Return the coarsest level that is not coarser than the wanted resolution.

    Parameters
    ----------
    levels : sequence of Level
        From fine to coarse.
    scale : float
        Pixels of the full resolution per wanted pixel, at least 1 within 1 %.
    """
    return [level for level in levels if max(level.step) <= scale * (1 + AS_IT_IS)][-1]


def is_taken_as_it_is(level: Level, scale: float) -> bool:
    """Whether a level has the wanted resolution within 1 %, and one whole step for both axes."""
    whole = level.step[0] == level.step[1] == round(level.step[0])
    return whole and abs(scale / level.step[0] - 1) <= AS_IT_IS


def _step(full: Shape, shape: Shape) -> tuple[float, float] | None:
    if 0 in shape or shape[0] > full[0] or shape[1] > full[1]:
        return None
    ratios = full[0] / shape[0], full[1] / shape[1]
    # The longer side knows the step best.
    ratio = ratios[0] if full[0] >= full[1] else ratios[1]
    for whole in (2 ** round(math.log2(ratio)), round(ratio)):
        if whole > 1 and all(
            small in (big // whole, -(-big // whole)) for big, small in zip(full, shape, strict=True)
        ):
            return float(whole), float(whole)
    # A pixel more or less on the shorter side is rounding; beyond, the picture has another shape.
    bend = abs(ratios[0] / ratios[1] - 1)
    return ratios if min(ratios) > 1 and bend <= 1 / min(shape) + AS_IT_IS else None
