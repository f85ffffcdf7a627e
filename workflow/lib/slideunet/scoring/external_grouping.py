"""Bringing the rows of one object together, from however many blocks: in memory or through files."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slideunet.scoring.overlaps import ROW, Rows

Side = Literal["truth", "cell"]
Deal = Callable[[Iterable[Rows], Side], Iterator[Rows]]
"""Takes tables and deals their rows out in parts; all rows of one true object (or cell) are in one part."""

BLOCKS_PER_PART = 64
"""A part has about as many rows as so many blocks: some 50 MB in dense tissue."""


def in_memory(tables: Iterable[Rows], by: Side) -> Iterator[Rows]:
    """Deal everything out as one part."""
    yield np.concatenate([np.empty(0, ROW), *tables])


def on_disk(folder: Path, n_blocks: int) -> Deal:
    """Make a way of dealing that holds one table or one part at a time (Grace hash join, Kitsuregawa 1983).

    Parameters
    ----------
    folder : Path
        An existing folder, for files that are removed as they are read: up to 45 bytes per row.
    n_blocks : int
        Of the slide.
    """
    n_parts = -(-n_blocks // BLOCKS_PER_PART)

    def deal(tables: Iterable[Rows], by: Side) -> Iterator[Rows]:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            for rows in tables:
                _append(Path(name), rows, _part_of(rows, by, n_parts))
            for path in sorted(Path(name).iterdir()):
                yield np.fromfile(path, ROW)
                path.unlink()

    return deal


def _part_of(rows: Rows, by: Side, n_parts: int) -> NDArray[np.uint32]:
    other = "cell" if by == "truth" else "truth"
    # What lies on background belongs to no object of this side: spread it by the other id.
    return np.where(rows[by] > 0, rows[by], rows[other]) % np.uint32(n_parts)


def _append(folder: Path, rows: Rows, part: NDArray[np.uint32]) -> None:
    order = np.argsort(part, kind="stable")
    numbers, starts = np.unique(part[order], return_index=True)
    for number, chosen in zip(numbers, np.split(rows[order], starts[1:]), strict=False):
        with (folder / f"{number:06d}").open("ab") as file:
            chosen.tofile(file)
