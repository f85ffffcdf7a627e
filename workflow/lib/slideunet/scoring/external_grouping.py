"""Grouping of rows from many blocks by object or by cell, in memory or through files."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slideunet.scoring.overlaps import Rows

Key = Literal["truth", "cell"]
Regroup = Callable[[Iterable[Rows], Key, np.dtype], Iterator[Rows]]
"""Distributes rows of a dtype to parts: all rows of an object (or of a cell) are in one part."""

BLOCKS_PER_PART = 64
"""A part has about as many rows as this many blocks: some 50 MB in dense tissue."""


def in_memory(tables: Iterable[Rows], by: Key, dtype: np.dtype) -> Iterator[Rows]:
    """Put all rows into one part."""
    yield np.concatenate([np.empty(0, dtype), *tables])


def on_disk(folder: Path, n_blocks: int) -> Regroup:
    """Return a regrouping that holds one table or one part in memory (Grace hash join, Kitsuregawa 1983).

    Parameters
    ----------
    folder : Path
        For temporary files of up to 55 bytes per row; created if missing.
    n_blocks : int
        Number of blocks of the slide.
    """
    n_parts = -(-n_blocks // BLOCKS_PER_PART)

    def regroup(tables: Iterable[Rows], by: Key, dtype: np.dtype) -> Iterator[Rows]:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            for rows in tables:
                _append(Path(name), rows, _part_of(rows, by, n_parts))
            for path in sorted(Path(name).iterdir()):
                yield np.fromfile(path, dtype)
                path.unlink()

    return regroup


def _part_of(rows: Rows, by: Key, n_parts: int) -> NDArray[np.uint32]:
    partner = "cell" if by == "truth" else "truth"
    # Rows with background belong to no object: they are spread by the id of the partner.
    return np.where(rows[by] > 0, rows[by], rows[partner]) % np.uint32(n_parts)


def _append(folder: Path, rows: Rows, part: NDArray[np.uint32]) -> None:
    order = np.argsort(part, kind="stable")
    numbers, starts = np.unique(part[order], return_index=True)
    for number, chosen in zip(numbers, np.split(rows[order], starts[1:]), strict=False):
        with (folder / f"{number:06d}").open("ab") as file:
            chosen.tofile(file)
