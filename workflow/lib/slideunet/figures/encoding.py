"""Pictures as WebP: in the page itself, or as thumbnails in the page and whole in a folder beside it."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITIES = (86, 75, 62, 50)
EFFORT = 2
"""Of 0 to 6 (`method`): pictures are 3 % larger than with the usual 4, in less than half the time."""
THUMBNAIL = 256
"""Longest side of a thumbnail in pixels."""
WHOLE_BYTES = 160_000
"""Of a picture at most, wherever it is."""


@dataclass(frozen=True)
class Picture:
    """A picture of a page: data URI, size in pixels, and the link to the larger one or ""."""

    uri: str
    width: int
    height: int
    link: str = ""


Keep = Callable[[NDArray[np.uint8], str], Picture]
"""Encodes pixels (y, x, 3); the name is that of a file without its ending."""


def in_page(budget: int) -> Keep:
    """Return what puts a picture of at most `budget` bytes into the page."""
    return lambda rgb, name: _picture(*encode_webp(rgb, min(budget, WHOLE_BYTES)))


def beside_page(folder: Path, link: str, budget: int) -> Keep:
    """Return what puts a thumbnail of at most `budget` bytes into the page, and the picture into a folder.

    Parameters
    ----------
    folder : Path
        Made if need be.
    link : str
        The folder as the page names it.
    budget : int
    """
    folder.mkdir(parents=True, exist_ok=True)

    def keep(rgb: NDArray[np.uint8], name: str) -> Picture:
        data, _ = encode_webp(rgb, WHOLE_BYTES)
        (folder / f"{name}.webp").write_bytes(data)
        small = Image.fromarray(rgb)
        small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        thumbnail, size = encode_webp(np.asarray(small), budget)
        return _picture(thumbnail, size, f"{link}/{name}.webp")

    return keep


def encode_webp(rgb: NDArray[np.uint8], budget: int) -> tuple[bytes, tuple[int, int]]:
    """Encode pixels (y, x, 3) in the best quality within `budget` bytes, downsampled if need be.

    Returns
    -------
    bytes
    (int, int)
        Width and height.
    """
    image = Image.fromarray(rgb)
    while True:
        for quality in QUALITIES:
            buffer = io.BytesIO()
            image.save(buffer, format="WEBP", quality=quality, method=EFFORT)
            if buffer.tell() <= budget or max(image.size) < 64:
                return buffer.getvalue(), image.size
        image = image.resize(
            (max(image.width * 3 // 4, 1), max(image.height * 3 // 4, 1)), Image.Resampling.LANCZOS
        )


def _picture(data: bytes, size: tuple[int, int], link: str = "") -> Picture:
    return Picture("data:image/webp;base64," + base64.b64encode(data).decode("ascii"), *size, link)
