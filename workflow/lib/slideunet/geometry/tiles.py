"""Tile geometry: how a length is cut, what a tile reads, and what lies beyond the slide.

    core   = the part that is written         slide border
    halo   = context of the core, read from         :   +--------------------
             the slide, inside of it                : M |  array of a tile
    margin = M mirrored pixels beyond the       ....:...|.....................
             border; every tile that reaches        :   |  +-----------+
             them ends there                        :   |  |  core     | halo
                                                    :   |  +-----------+
    Cores begin on multiples of 2^depth, so that pooling cells fall on the same pixels in every tile.

With a halo of at least the receptive-field radius, the network sees the same context of a pixel in every tile
and gives the same output: Majurski & Bajcsy, J. Res. NIST 126:126009 (2021), doi:10.6028/jres.126.009. At the
end of an array the convolutions pad with zeros. That end is a halo away from the core, or where every other
tile and the slide in one piece end too.
"""

from dataclasses import dataclass

import numpy as np

Interval = tuple[int, int]
"""Half-open, in pixels."""


@dataclass(frozen=True)
class Context:
    """Where tiles of a network begin and end on an axis of a slide; all lengths are multiples of 2^depth.

    Attributes
    ----------
    step : int
        Cores begin and end on multiples of it, in pixels.
    least : int
        Shortest core.
    margin : int
        Mirrored pixels beyond the border of the slide.
    halo : int
        Context of a core inside the slide, at least `margin`.
    """

    step: int
    least: int
    margin: int
    halo: int

    def inside(self, length: int) -> int:
        """Return the end of the last core of an axis of `length` pixels: a function of the slide alone."""
        return max(length + -length % self.step, self.least)

    def core(self, part: Interval, length: int) -> Interval:
        """Return the core, on multiples of `step` and not too short, that holds a part of an axis."""
        start, stop = part
        return widened((start - start % self.step, stop + -stop % self.step), self.least, self.inside(length))

    def read(self, core: Interval, length: int) -> Interval:
        """Return what a core of an axis reads, which may begin below zero and end past the slide."""
        start, stop = core
        end = self.inside(length) + self.margin
        return max(start - self.halo, -self.margin), min(stop + self.halo, end)


def widened(span: Interval, least: int, length: int) -> Interval:
    """Return a part of [0, length) of at least `least` pixels (all, if there are fewer) that holds a span."""
    start, stop = span
    stop = min(max(stop, start + least), length)
    return max(min(start, stop - least), 0), stop


@dataclass(frozen=True)
class Tile:
    """What an engine gets.

    Attributes
    ----------
    pixels : numpy.ndarray (c, y, x)
        Raw; sides and position in the slide are multiples of 2^depth.
    core : ((y0, y1), (x0, x1))
        The part of the pixels that is predicted, on multiples of 2^depth. Towards a side where the array does
        not end with the slide, it has `halo` pixels of context, else the margin or more.
    """

    pixels: np.ndarray
    core: tuple[Interval, Interval]


def even_cores(length: int, most: int, multiple: int) -> list[Interval]:
    """Cut a length into as few cores as possible that are as equal as possible.

    A large and a narrow tile would need as much context, and more memory.

    Parameters
    ----------
    length : int
        In pixels.
    most : int
        Length of the longest core; rounded up to a multiple of `multiple`.
    multiple : int
        2^depth of the network: every core begins on a multiple of it.
    """
    count = -(-length // (most + -most % multiple))
    side = -(-length // count)
    side += -side % multiple
    return [(start, min(start + side, length)) for start in range(0, length, side)]


def mirrored(start: int, stop: int, length: int) -> np.ndarray:
    """Return the indices (int64) of [start, stop) in a line of `length` pixels, mirrored at both ends.

    The mirror does not repeat the border pixel (NumPy's "reflect"), and goes on to and fro for lines shorter
    than the reach; a line of one pixel is repeated.
    """
    period = max(2 * (length - 1), 1)
    folded = np.arange(start, stop) % period
    return np.minimum(folded, period - folded) if length > 1 else folded
