"""Which part of a slide to show: all of a small one, of a large one the part that says most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

WHOLE = 768
"""Slides up to this side are shown whole."""
WINDOW = 512
"""Side of the part of a larger slide that is shown."""
COARSE = 1024
SURROUNDINGS = 1.6
"""Side of a crop in longer sides of the object that it shows, at least."""


@dataclass(frozen=True)
class Window:
    """A rectangle in working pixels, half open."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def middle(self) -> tuple[float, float]:
        """Row and column of the centre."""
        return (self.top + self.bottom) / 2, (self.left + self.right) / 2

    def grown(self, margin: int, shape: tuple[int, int]) -> "Window":
        """Return the window with a margin on all sides, cut at the slide's borders."""
        return Window(
            max(self.top - margin, 0),
            max(self.left - margin, 0),
            min(self.bottom + margin, shape[0]),
            min(self.right + margin, shape[1]),
        )

    def inside(self, outer: "Window") -> "Window":
        """Return the same rectangle in the coordinates of `outer`."""
        top, left = self.top - outer.top, self.left - outer.left
        return Window(top, left, top + self.bottom - self.top, left + self.right - self.left)


def coarse_level(shape: tuple[int, int], side: int = COARSE) -> int:
    """Choose the pyramid level whose longer side is the largest that is at most `side` px."""
    level = 0
    while max(shape) > side << level:
        level += 1
    return level


def densest_window(interest: NDArray, scale: int, shape: tuple[int, int], size: int = WINDOW) -> Window:
    """Place a window where the interest is highest.

    Parameters
    ----------
    interest : numpy.ndarray, (y, x)
        Interest of every pixel of a down-sampled slide, e.g. 1 where truth and prediction differ.
    scale : int
        Working pixels per pixel of `interest`.
    shape : (int, int)
        Height and width of the slide in working pixels.
    size : int
        Side of the window in working pixels. A slide of at most `WHOLE` px is shown whole.
    """
    if max(shape) <= WHOLE:
        return Window(0, 0, *shape)
    height, width = min(size, shape[0]), min(size, shape[1])
    smooth = uniform_filter(
        interest.astype(np.float32), (max(height // scale, 1), max(width // scale, 1)), mode="constant"
    )
    y, x = np.unravel_index(int(smooth.argmax()), smooth.shape)
    top = min(max(int(y) * scale - height // 2, 0), shape[0] - height)
    left = min(max(int(x) * scale - width // 2, 0), shape[1] - width)
    return Window(top, left, top + height, left + width)


def square_around(box: Window, sides: Sequence[int], shape: tuple[int, int]) -> tuple[Window, int]:
    """Place a square around an object, moved to lie inside the slide, and cut where the slide is smaller.

    Parameters
    ----------
    box : Window
        Of the object.
    sides : sequence of int
        Possible sides in working pixels, ascending; the last one also for objects that are larger.
    shape : (int, int)
        Height and width of the slide in working pixels.

    Returns
    -------
    Window
    int
        The side that was chosen; that of the window unless the slide is smaller.
    """
    extent = SURROUNDINGS * max(box.bottom - box.top, box.right - box.left)
    side = next((side for side in sides if side >= extent), sides[-1])
    height, width = (min(side, length) for length in shape)
    top = min(max(int(box.middle[0]) - height // 2, 0), shape[0] - height)
    left = min(max(int(box.middle[1]) - width // 2, 0), shape[1] - width)
    return Window(top, left, top + height, left + width), side
