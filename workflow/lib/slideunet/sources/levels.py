"""The levels of a pyramid, their downsampling factors, and the choice of the level to read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, int]

RESOLUTION_TOLERANCE = 0.01
"""Relative difference up to which a resolution counts as the requested one: resampling would only blur."""


@dataclass(frozen=True)
class Level:
    """One resolution of an image.

    Attributes
    ----------
    index : int
        Number of the level in the file.
    shape : tuple[int, int]
        (y, x), upright.
    step : tuple[float, float]
        Pixels of the full resolution per pixel of this level, along y and x.
    """

    index: int
    shape: Shape
    step: tuple[float, float]


def pyramid_levels(shapes: Sequence[Shape]) -> tuple[Level, ...]:
    """Return the levels of a pyramid from the sizes of its images.

    Pyramids halve sizes and round up or down, so 4443 and 2221 pixels mean a step of exactly 2, without the
    last column, not of 2.0005. The ratio of the sizes counts only if no whole step explains both. Images of
    another aspect ratio, or no smaller than the previous level, are skipped.

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
    """Return the coarsest level that is at least as fine as the requested resolution.

    Parameters
    ----------
    levels : sequence of Level
        From fine to coarse.
    scale : float
        Pixels of the full resolution per requested pixel, at least 1 within `RESOLUTION_TOLERANCE`.
    """
    return [level for level in levels if max(level.step) <= scale * (1 + RESOLUTION_TOLERANCE)][-1]


def needs_no_resampling(level: Level, scale: float) -> bool:
    """Whether a level has the requested resolution within the tolerance, and one whole step for both axes."""
    whole = level.step[0] == level.step[1] == round(level.step[0])
    return whole and abs(scale / level.step[0] - 1) <= RESOLUTION_TOLERANCE


def _step(full: Shape, shape: Shape) -> tuple[float, float] | None:
    if 0 in shape or shape[0] > full[0] or shape[1] > full[1]:
        return None
    ratios = full[0] / shape[0], full[1] / shape[1]
    # The longer axis has the smaller rounding error.
    ratio = ratios[0] if full[0] >= full[1] else ratios[1]
    for whole in (2 ** round(math.log2(ratio)), round(ratio)):
        if whole > 1 and all(
            small in (big // whole, -(-big // whole)) for big, small in zip(full, shape, strict=True)
        ):
            return float(whole), float(whole)
    # One pixel of the shorter axis is rounding; a larger difference is another aspect ratio.
    distortion = abs(ratios[0] / ratios[1] - 1)
    return ratios if min(ratios) > 1 and distortion <= 1 / min(shape) + RESOLUTION_TOLERANCE else None
