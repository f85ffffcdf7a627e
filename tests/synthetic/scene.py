"""A scene (all parameters of one synthetic slide) and rectangles of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from slideunet.errors import InputError

Look = Literal["fluorescence", "histology"]

# Lattice of cell positions. With 128 ids per 128 x 128 px, uint32 ids suffice for 740,000 x 740,000 px.
LATTICE = 128
SLOTS = 128


class Rectangle(NamedTuple):
    """A rectangle of a slide in pixels: rows `top` to `bottom`, columns `left` to `right` (exclusive)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, (y, x)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def rows(self) -> range:
        """Its y coordinates."""
        return range(self.top, self.bottom)

    @property
    def columns(self) -> range:
        """Its x coordinates."""
        return range(self.left, self.right)

    def grown(self, margin: int) -> "Rectangle":
        """Return the rectangle grown by `margin` pixels on every side."""
        return Rectangle(self.top - margin, self.left - margin, self.bottom + margin, self.right + margin)

    def cut(self, window: "Rectangle") -> "Rectangle":
        """Return the intersection with a rectangle that overlaps this one."""
        top, left = max(self.top, window.top), max(self.left, window.left)
        return Rectangle(top, left, min(self.bottom, window.bottom), min(self.right, window.right))

    def inside(self, outer: "Rectangle") -> tuple[slice, slice]:
        """Return the slices (y, x) that select this rectangle from an array covering `outer`."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


@dataclass(frozen=True)
class Scene:
    """All parameters of one slide: equal scenes have equal pixels.

    Attributes
    ----------
    look : {"fluorescence", "histology"}
        One grey channel of stained nuclei (uint16, 12 bits used), or H&E-like RGB (uint8).
    seed, donor_seed : int
        Random seeds of the slide's layout and of the donor's cells, stain and microscope.
    height, width : int
        Size in pixels.
    density : float
        Cell density relative to the donor's usual one; 0 draws no cells.
    mpp : float
        Micrometres per pixel, written into the files; cells keep their size in pixels.
    """

    look: Look
    seed: int
    donor_seed: int
    height: int
    width: int
    density: float = 1.0
    mpp: float = 0.5

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise InputError(problems)

    @property
    def region(self) -> Rectangle:
        """The whole slide."""
        return Rectangle(0, 0, self.height, self.width)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if self.look == "fluorescence" else 3

    @property
    def dtype(self) -> str:
        """Pixel type of the image."""
        return "uint16" if self.look == "fluorescence" else "uint8"

    @property
    def lattice_shape(self) -> tuple[int, int]:
        """Lattice cells (y, x), including one beyond each border for nuclei that the border cuts."""
        return -(-self.height // LATTICE) + 2, -(-self.width // LATTICE) + 2


def _problems(scene: Scene) -> Iterator[str]:
    if scene.look not in get_args(Look):
        yield (
            f"slide: look is {scene.look!r}, but only {' and '.join(get_args(Look))} can be drawn. "
            "Choose one of them."
        )
    if min(scene.height, scene.width) < 1:
        yield (
            f"slide: size is {scene.height} x {scene.width} (y x x), but must be at least 1 x 1. "
            "Give a larger size."
        )
    elif scene.lattice_shape[0] * scene.lattice_shape[1] * SLOTS >= 2**32:
        yield (
            f"slide: {scene.height} x {scene.width} (y x x) pixels are too many for uint32 cell ids. "
            "Draw at most 700,000 x 700,000."
        )
    if min(scene.seed, scene.donor_seed) < 0 or not 0 <= scene.density <= 10 or not scene.mpp > 0:
        yield (
            f"slide: seed {scene.seed}, donor_seed {scene.donor_seed}, density {scene.density}, mpp "
            f"{scene.mpp}. Seeds must be 0 or more, density 0 to 10, mpp positive."
        )
