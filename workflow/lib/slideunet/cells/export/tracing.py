"""The outlines of all cells of a label image at once, along the edges of their pixels.

Every side of a pixel that is not shared with a pixel of the same part is an edge, walked with the part on the
right hand (of a picture whose rows go down). Which edge comes next is seen from two pixels, so all edges know
their next at once, and following them gives the rings.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

from slideunet.cells.export.parts import parts
from slideunet.cells.measurement.regions import Regions

# The way on along a side of a pixel, as (row, column), and the corner at which the side begins.
_WALK = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
_BEGIN = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])


@dataclass(frozen=True)
class Rings:
    """Closed rings of corners, in the order of their cells and, within one, of its parts.

    Attributes
    ----------
    cell : ndarray (r,) of int64
        To which cell, counted from 0, a ring belongs.
    part : ndarray (r,) of int64
        Number of the part: pixels of the cell that are connected through their sides. The first ring of a
        part is its outer one, the others are its holes.
    start : ndarray (r + 1,) of int64
        Where the corners of each ring begin, and the end of the last.
    rows, columns : ndarray (v,) of int64
        Corners of pixels: those of the first pixel of the image are 0 and 1. A ring does not repeat its
        first corner.
    """

    cell: np.ndarray
    part: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def trace(regions: Regions) -> Rings:
    """Trace the cells of a label image.

    Parts that touch only at a corner are apart; a part meets itself at a corner without joining there. So no
    ring comes twice to one corner, and all polygons are valid (OGC Simple Features).
    """
    if not len(regions.ids):
        none = np.zeros(0, np.int64)
        return Rings(none, none, np.zeros(1, np.int64), none, none)
    of_pixel = parts(regions)
    pixel, side = np.nonzero(regions.exposed)
    pixel = regions.border[pixel]
    place, cell = regions.places[pixel], regions.index[pixel]
    part = of_pixel[pixel]
    following = _following(regions, _by_place(regions, of_pixel), cell, place, side)
    order, start = _rings(following, part)
    side, pixel = side[order], pixel[order]
    # A corner is where the side changes; the edge before the first of a ring is its last.
    before = np.arange(-1, len(order) - 1)
    before[start[:-1]] = start[1:] - 1
    is_corner = side != side[before]
    corners = np.append(0, np.cumsum(is_corner))[start]
    at = _BEGIN[side[is_corner]] + regions.corner(pixel[is_corner])
    first = order[start[:-1]]
    return Rings(cell[first], part[first], corners, at[:, 0], at[:, 1])


def _by_place(regions: Regions, part: np.ndarray) -> np.ndarray:
    """Return at each place of `regions.boxed` (m,) what tells the parts (p,) of a cell apart."""
    if np.count_nonzero(np.diff(part, prepend=0)) == len(regions.ids):
        return regions.boxed
    found = np.zeros(len(regions.boxed), np.int32)
    found[regions.places] = part
    return found


def _following(
    regions: Regions, part: np.ndarray, cell: np.ndarray, place: np.ndarray, side: np.ndarray
) -> np.ndarray:
    """Return for each edge, given by the cell and place of its pixel and its side, the number of the next."""
    width = regions.width[cell]
    ahead = place + _step(side, width)
    beside = ahead - _step((side + 1) % 4, width)  # of what is ahead, outwards
    left, straight = part[beside] == part[place], part[ahead] == part[place]
    next_place = np.where(left, beside, np.where(straight, ahead, place))
    next_side = np.where(left, side - 1, np.where(straight, side, side + 1)) % 4
    # Edges are numbered by their pixels, then by their sides.
    number = np.cumsum(regions.exposed).reshape(-1, 4) - 1
    return number[np.searchsorted(regions.places[regions.border], next_place), next_side]


def _step(side: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the step to the next place along each side (e,), in boxes with rows of this length (e,)."""
    return _WALK[side, 0] * width + _WALK[side, 1]


def _rings(following: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put the edges in the order of the walks, ring by ring.

    Parameters
    ----------
    following : ndarray (e,) of int64
        The number of the edge after each.
    part : ndarray (e,)
        The part of each edge: rings come by part, then by their first edge.

    Returns
    -------
    order : ndarray (e,)
        Numbers of edges.
    start : ndarray (r + 1,)
        Where the edges of each ring begin.
    """
    count, ring = connected_components(_graph(following), connection="weak")
    first = np.empty(count, np.int64)
    first[ring[::-1]] = np.arange(len(ring))[::-1]  # of several the last is kept
    by_place = np.lexsort((first, part[first]))
    # One path through all rings: the last edge of each leads to the first of the next.
    onward = np.empty(count, np.int64)
    onward[by_place] = np.roll(first[by_place], -1)
    path = np.where(following == first[ring], onward[ring], following)
    order = depth_first_order(_graph(path), first[by_place[0]], return_predecessors=False)
    return order, np.append(0, np.cumsum(np.bincount(ring)[by_place]))


def _graph(following: np.ndarray) -> csr_array:
    """Return the graph in which each node leads to one."""
    nodes = np.arange(len(following) + 1, dtype=np.int32)
    return csr_array((np.ones(len(following)), following.astype(np.int32), nodes), shape=[len(following)] * 2)
