"""Tile geometry: how a length is cut, and where slide borders are mirrored.

    read = core + halo on every side        +-----------------+
    core = the part that is written         |  halo           |
    All read origins lie on multiples       |   +---------+   |
    of 2^depth, so that pooling cells       |   |  core   |   |
    fall on the same pixels whatever        |   +---------+   |
    the tile size.                          |                 |
                                            +-----------------+

With a halo of at least the receptive-field radius, the network sees the same context of a pixel in every tile
and gives the same output: Majurski & Bajcsy, J. Res. NIST 126:126009 (2021), doi:10.6028/jres.126.009.
"""

import numpy as np

Interval = tuple[int, int]
"""Half-open, in pixels."""


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
