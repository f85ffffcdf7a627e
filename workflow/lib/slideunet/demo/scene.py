"""What is to be drawn: a scene (one slide) and a region (a rectangle of it)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Look = Literal["fluorescence", "histology"]

# The lattice on which cells are placed. With 128 ids for each 128 x 128 px a uint32 reaches
# 5 x 10^11 pixels, which is 740,000 x 740,000.
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
        """The y of its pixels."""
        return range(self.top, self.bottom)

    @property
    def columns(self) -> range:
        """The x of its pixels."""
        return range(self.left, self.right)

    def grown(self, margin: int) -> "Rectangle":
        """Return it with `margin` pixels more on every side."""
        return Rectangle(self.top - margin, self.left - margin, self.bottom + margin, self.right + margin)

    def cut(self, other: "Rectangle") -> "Rectangle":
        """Return the part that it shares with `other` (which must touch it)."""
        return Rectangle(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def inside(self, outer: "Rectangle") -> tuple[slice, slice]:
        """Return the slices (y, x) that select it from an array that covers `outer`."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


@dataclass(frozen=True)
class Scene:
    """One slide of the demo, complete: the same scene is always drawn as the same pixels.

    Attributes
    ----------
    look : {"fluorescence", "histology"}
        One grey channel of stained nuclei (uint16, 12 bits used), or H&E-like RGB (uint8).
    seed, donor_seed : int
        Where things lie on this slide; how this donor's cells, stain and microscope look.
    height, width : int
        Size in pixels.
    density : float
        Number of cells relative to what is usual for the donor; 0 draws none.
    mpp : float
        Micrometres per pixel, written into the files. It does not change the size of cells in pixels.
    """

    look: Look
    seed: int
    donor_seed: int
    height: int
    width: int
    density: float = 1.0
    mpp: float = 0.5

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if self.look == "fluorescence" else 3

    @property
    def dtype(self) -> str:
        """Type of a pixel of the image."""
        return "uint16" if self.look == "fluorescence" else "uint8"

    @property
    def lattice_shape(self) -> tuple[int, int]:
        """Lattice cells (y, x), with one beyond each border, so that cells cut by the border exist."""
        return -(-self.height // LATTICE) + 2, -(-self.width // LATTICE) + 2
