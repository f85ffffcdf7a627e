"""Batches of slides, the units of work of a job.

Starting a job costs seconds, so many small slides share one; a large slide has its own. Small slides are
grouped by the first bits of a hash of their id; a full batch is split by the next bit (a trie, as in
extendible hashing, Fagin et al. 1979). A new slide therefore changes a single batch.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from slideunet.readers.companion_files import files_of

LARGE = 256 * 1024**2
MOST_SLIDES = 64
MOST_BYTES = 1024**3


def assign_batches(sizes: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Assign slides to batches.

    Parameters
    ----------
    sizes : mapping
        Slide id to bytes of its image file.

    Returns
    -------
    dict
        Batch id to slide ids, both sorted: "large-<slide>" for a slide of 256 MiB or more, "small-<bits>"
        for up to 64 slides and 1 GiB together ("small-all" when one batch holds all small slides).
    """
    small = {slide: size for slide, size in sizes.items() if size < LARGE}
    batches = {f"small-{bits or 'all'}": slides for bits, slides in _leaves(small, "")}
    return dict(sorted((batches | large_batches(sizes)).items()))


def large_batches(sizes: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Return the batches of one large slide each, which may use all cores of a machine."""
    return {f"large-{slide}": (slide,) for slide, size in sizes.items() if size >= LARGE}


def image_sizes(sheet: pd.DataFrame) -> dict[str, int]:
    """Return the bytes of each slide's image with its companion files.

    The files of a folder (OME-Zarr) are added up until it counts as large.

    Parameters
    ----------
    sheet : pandas.DataFrame
        With slide and absolute image path.
    """
    return {slide: _bytes(Path(image)) for slide, image in zip(sheet["slide"], sheet["image"], strict=True)}


def _leaves(sizes: Mapping[str, int], bits: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if len(sizes) <= 1 or (len(sizes) <= MOST_SLIDES and sum(sizes.values()) <= MOST_BYTES):
        if sizes:
            yield bits, tuple(sorted(sizes))
        return
    for bit in "01":
        half = {slide: size for slide, size in sizes.items() if _bits(slide)[len(bits)] == bit}
        yield from _leaves(half, bits + bit)


def _bits(slide: str) -> str:
    return f"{int.from_bytes(hashlib.sha256(slide.encode()).digest()):0256b}"


def _bytes(path: Path) -> int:
    if not path.exists():
        return 0
    if not path.is_dir():
        return sum(file.stat().st_size for file in files_of(path))
    total = 0
    for file in path.rglob("*"):
        total += file.stat().st_size if file.is_file() else 0
        if total >= LARGE:
            break
    return total
