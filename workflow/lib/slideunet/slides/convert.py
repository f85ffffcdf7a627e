"""From a user's image and labels to a verified OME-Zarr store with its manifest."""

import importlib.metadata
import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from slideunet import __version__
from slideunet.errors import InputError
from slideunet.geometry.blocks import BLOCK, Region, block_at, digest
from slideunet.readers.companion_files import files_of
from slideunet.readers.open_source import Source, choose_channels
from slideunet.readers.working_resolution import open_at
from slideunet.slides.statistics import content, pooled, survey_block
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.fingerprint import file_identity, fingerprint
from slideunet.stores.ngff_metadata import Version
from slideunet.stores.resumable import Building, building, digests
from slideunet.truth.open_truth import Truth, open_truth

Channels = Sequence[int] | str | None

FORMAT = 2  # Raise when a store is written differently, so that old ones are made again.


@dataclass(frozen=True)
class Slide:
    """One row of the sample sheet, as far as conversion needs it."""

    slide: str
    image: Path
    labels: Path | None
    mpp: float | None


def read_slide(row: Mapping[str, Any]) -> Slide:
    """Make a `Slide` from a row of the sheet, in which absent values are empty text."""
    return Slide(
        slide=row["slide"],
        image=Path(row["image"]),
        labels=Path(row["labels"]) if row["labels"] else None,
        mpp=float(row["mpp"]) if row["mpp"] else None,
    )


def convert(
    slide: Slide,
    manifest: Path,
    *,
    channels: Channels,
    version: Version,
    mpp: float | None = None,
    shrink_by: float = 1.0,
    ignore_label: int | None = None,
    threads: int = 1,
) -> bool:
    """Convert one slide unless its store is up to date; a conversion that was interrupted goes on.

    Parameters
    ----------
    slide : Slide
    manifest : Path
        `results/slides/{slide}.json`; the store lies beside it.
    channels : None, "grey", "rgb" or list of int
        See `readers.choose_channels`.
    version : "0.5" or "0.4"
        Of OME-Zarr.
    mpp : float, optional
        Micrometres per pixel of the working grid; the slide's own when not given.
    shrink_by : float
        See `resampling.open_at`.
    ignore_label : int, optional
        See `truth.open_truth`.
    threads : int
        Blocks that are converted at once.

    Returns
    -------
    bool
        Whether there was anything to do.

    Raises
    ------
    InputError
        Naming the slide, when its image or labels cannot be used.
    """
    known = _fingerprint(slide, channels, version, mpp, shrink_by, ignore_label)
    if manifests.is_current(manifest, known):
        return False
    start = time.perf_counter()
    try:
        source, scale = open_at(slide.image, own_mpp=slide.mpp, working_mpp=mpp, shrink_by=shrink_by)
        source = choose_channels(source, channels)
        truth = _read_truth(slide, source, scale, ignore_label)
        facts = _describe(slide, source, scale, truth) | {"fingerprint": known}
        with building(manifest, known, _creator(slide, source, version)) as store:
            _write_blocks(store, source, threads)
            facts |= _surveyed(store, source)
            if truth is not None:
                facts |= _write_truth(store.path, truth, mpp=facts["mpp"], version=version)
            store.finish(facts | {"seconds": round(time.perf_counter() - start, 3)})
    except InputError as error:
        raise InputError(f"slide {slide.slide}: {problem}" for problem in error.problems) from error
    return True


def _fingerprint(
    slide: Slide,
    channels: Channels,
    version: str,
    mpp: float | None,
    shrink_by: float,
    ignore_label: int | None,
) -> str:
    paths = [*files_of(slide.image), *([] if slide.labels is None else [slide.labels])]
    files = [file_identity(path) for path in paths]
    # Stores that were made before there were these keys stay current.
    newer = {} if shrink_by == 1 else {"shrink_by": shrink_by}
    newer |= {} if ignore_label is None or slide.labels is None else {"ignore_label": ignore_label}
    return fingerprint(
        format=FORMAT,
        files=files,
        mpp=slide.mpp,
        channels=channels,
        version=version,
        working_mpp=mpp,
        **newer,
    )


def _read_truth(slide: Slide, source: Source, scale: float, ignore_label: int | None) -> Truth | None:
    """Read the labels, which are on the full resolution of the image, on the working grid."""
    if slide.labels is None:
        return None
    shape = source.pixels.shape[1:]
    full = source.full_shape or shape
    return open_truth(slide.labels, full, scale=scale, working_shape=shape, ignore_label=ignore_label)


def _describe(slide: Slide, source: Source, scale: float, truth: Truth | None) -> dict[str, Any]:
    return {
        "slide": slide.slide,
        "shape": list(source.pixels.shape),
        "dtype": str(source.pixels.dtype),
        "channels": list(source.channels),
        "mpp": source.mpp,
        "scale": scale,
        "truth_content": None,
        "n_objects": None,
        "source": {"image": str(slide.image), "labels": None if slide.labels is None else str(slide.labels)},
        "warnings": [*source.warnings, *(truth.warnings if truth else ())],
        "versions": {"slideunet": __version__}
        | {name: importlib.metadata.version(name) for name in ("zarr", "numpy")},
    }


def _creator(slide: Slide, source: Source, version: Version) -> Callable[[Path], None]:
    return partial(
        omezarr.create_image,
        shape=source.pixels.shape,
        dtype=source.pixels.dtype,
        channels=source.channels,
        mpp=source.mpp,
        version=version,
        name=slide.slide,
    )


def _write_blocks(store: Building, source: Source, threads: int) -> None:
    """Read, write and survey the blocks that are not done; each pixel is decoded once."""
    levels = omezarr.open_levels(store.path, "r+")
    for indices, pixels in _bands(source, store.todo(), threads):

        def write(index: int, pixels: da.Array | _Band = pixels) -> tuple[int, dict[str, Any]]:
            region = block_at(pixels.shape, index)
            block = _read(pixels, region)
            omezarr.write_block(levels, region, block)
            return index, {"digest": digest(block), "survey": survey_block(block)}

        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in as_completed([pool.submit(write, index) for index in indices]):
                    store.record(*done.result())
            finally:
                # After a failure nothing begins, and what has begun ends before the store is given free.
                pool.shutdown(cancel_futures=True)


def _read(pixels: "da.Array | _Band", region: Region) -> np.ndarray:
    part = pixels[(..., *region)]
    # Blocks are what runs in parallel.
    return np.ascontiguousarray(part.compute(scheduler="sync") if isinstance(part, da.Array) else part)


def _bands(
    source: Source, todo: Sequence[int], threads: int
) -> Iterator[tuple[list[int], "da.Array | _Band"]]:
    """Yield blocks that are read together, and the pixels to read them from.

    Where a strip of the file crosses several blocks, one row of blocks at a time is decoded as a whole: else
    each strip would be decoded once per block.
    """
    pixels = source.pixels
    if max(pixels.chunks[2]) <= BLOCK:
        yield list(todo), pixels
        return
    across = -(-pixels.shape[2] // BLOCK)
    for _, band in itertools.groupby(todo, key=lambda index: index // across):
        indices = list(band)
        rows, _ = block_at(pixels.shape, indices[0])
        yield indices, _Band(pixels[:, rows].compute(num_workers=threads), rows.start, pixels.shape)


@dataclass(frozen=True)
class _Band:
    """Some rows of a slide in memory, addressed by the rows of the slide."""

    pixels: np.ndarray
    top: int
    shape: tuple[int, ...]

    def __getitem__(self, index: tuple[Any, slice, slice]) -> np.ndarray:
        _, rows, columns = index
        return self.pixels[:, rows.start - self.top : rows.stop - self.top, columns]


def _surveyed(store: Building, source: Source) -> dict[str, Any]:
    blocks = [store.done[index] for index in sorted(store.done)]
    return {
        "levels": len(omezarr.open_levels(store.path)),
        "statistics": pooled([block["survey"] for block in blocks]),
        "content": content(source.pixels.dtype, source.pixels.shape, digests(store.done)),
    }


def _write_truth(path: Path, truth: Truth, *, mpp: float | None, version: Version) -> dict[str, Any]:
    shutil.rmtree(path / "labels", ignore_errors=True)
    omezarr.write_label_image(path, "truth", truth.labels, mpp=mpp, version=version)
    # Read back: the labels of a large slide are lazy, and would be worked out again.
    labels = omezarr.open_level(path / "labels" / "truth", 0)
    digests = verified.block_digests(labels)
    return {
        "truth": {"blocks": digests},
        "truth_content": content(labels.dtype, (1, *labels.shape), digests),
        "n_objects": truth.count,
    }
