"""From a user's image and labels to a verified OME-Zarr store with its manifest."""

import importlib.metadata
import itertools
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from slideunet import __version__
from slideunet.errors import InputError
from slideunet.geometry.blocks import BlockGrid, Region, digest, within
from slideunet.geometry.pyramid import level_shapes
from slideunet.readers.companion_files import files_of
from slideunet.readers.open_source import Source, choose_channels
from slideunet.readers.working_resolution import open_at
from slideunet.slides.display import display_windows
from slideunet.slides.slide_image import identity_of
from slideunet.slides.statistics import content, pooled, survey_block
from slideunet.sources.colour_planes import is_rgb
from slideunet.sources.white import white_level
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.fingerprint import file_identity, fingerprint
from slideunet.stores.ngff_metadata import Version
from slideunet.stores.resumable import Building, building, digests
from slideunet.truth.kinds_of_labels import Kind, Outline
from slideunet.truth.open_truth import Truth, open_truth

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


@dataclass(frozen=True)
class ConversionPlan:
    """How slides are converted.

    Attributes
    ----------
    channels : None, "grey", "rgb" or list of int
        See `open_source.choose_channels`.
    mpp : float or None
        Micrometres per pixel of the working grid; None is the slide's own.
    ignore_label, background_label : int or None
        See `open_truth.open_truth`.
    truth : "auto", "instances" or "mask"
        Kind of the label images; see `open_truth.open_truth`.
    outline : "cell" or "nucleus"
        Of QuPath's cells; see `open_truth.open_truth`.
    version : "0.5" or "0.4"
        Of OME-Zarr.
    keep_pixels : bool
        Whether the store gets all levels of the image; else an overview, and `open_slide_image` reads the
        file. The pixels are the same, so nothing else depends on it.
    """

    channels: Sequence[int] | str | None = None
    mpp: float | None = None
    ignore_label: int | None = None
    background_label: int | None = None
    truth: Kind = "auto"
    outline: Outline = "cell"
    version: Version = "0.5"
    keep_pixels: bool = True

    def fingerprint(self, slide: Slide) -> str:
        """Return the digest of all that the store of a slide depends on."""
        paths = [*files_of(slide.image), *([] if slide.labels is None else [slide.labels])]
        # Stores that were made before there were these keys stay current.
        newer: dict[str, Any] = {}
        if slide.labels is not None:
            keys = {"ignore_label": self.ignore_label, "background_label": self.background_label}
            newer |= {name: value for name, value in keys.items() if value is not None}
            newer |= {} if self.truth == "auto" else {"truth": self.truth}
            newer |= {} if self.outline == "cell" else {"outline": self.outline}
        return fingerprint(
            format=FORMAT,
            files=[file_identity(path) for path in paths],
            mpp=slide.mpp,
            channels=self.channels,
            version=self.version,
            working_mpp=self.mpp,
            **newer,
        )


def convert(slide: Slide, plan: ConversionPlan, manifest: Path, threads: int = 1) -> bool:
    """Convert one slide unless its store is up to date; a conversion that was interrupted goes on.

    Parameters
    ----------
    slide : Slide
    plan : ConversionPlan
    manifest : Path
        `results/slides/{slide}.json`; the store lies beside it.
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
    known = plan.fingerprint(slide)
    if manifests.is_current(manifest, known) and _is_kept_as_wanted(slide, plan, manifest):
        return False
    start = time.perf_counter()
    try:
        source, scale = open_at(slide.image, own_mpp=slide.mpp, working_mpp=plan.mpp)
        source = choose_channels(source, plan.channels)
        truth = _read_truth(slide, source, scale, plan)
        shape = source.pixels.shape
        facts = _describe(slide, source, scale, truth) | {"fingerprint": known}
        overview = None if plan.keep_pixels else shape
        first = 0 if plan.keep_pixels else omezarr.overview_level(shape)
        if first:
            facts |= _reading(slide, plan, facts, first)
        create = partial(
            omezarr.create_image,
            shape=shape,
            dtype=source.pixels.dtype,
            channels=source.channels,
            mpp=source.mpp,
            version=plan.version,
            name=slide.slide,
            first_level=first,
        )
        # A store in the making is of one kind or of the other.
        own = known if first == 0 else fingerprint(known=known, first_level=first)
        with building(manifest, own, create, overview_of=overview) as store:
            _write_blocks(store, source, threads)
            facts |= _surveyed(store, source)
            facts |= _white(source, facts)
            _set_windows(store.path, source, facts)
            if truth is not None:
                facts |= _write_truth(store.path, truth, mpp=facts["mpp"], version=plan.version)
            store.finish(facts | {"seconds": round(time.perf_counter() - start, 3)})
    except InputError as error:
        raise InputError(f"slide {slide.slide}: {problem}" for problem in error.problems) from error
    return True


def _is_kept_as_wanted(slide: Slide, plan: ConversionPlan, manifest: Path) -> bool:
    """Tell whether a current store has the levels that it should; the file of one without may have moved."""
    facts = manifests.read_manifest(manifest)
    first = 0 if plan.keep_pixels else omezarr.overview_level(tuple(facts["shape"]))
    if first != facts.get("first_level", 0):
        return False
    if first and facts["source"]["image"] != str(slide.image):
        manifests.write_manifest(manifest, facts | {"source": facts["source"] | {"image": str(slide.image)}})
    return True


def _reading(slide: Slide, plan: ConversionPlan, facts: Mapping[str, Any], first: int) -> dict[str, Any]:
    """Return what `open_slide_image` needs to read the same pixels from the file again."""
    reading = {
        "identity": identity_of(slide.image),
        "own_mpp": slide.mpp,
        "mpp": plan.mpp,
        "channels": plan.channels,
    }
    return {"first_level": first, "source": facts["source"] | {"reading": reading}}


def _read_truth(slide: Slide, source: Source, scale: float, plan: ConversionPlan) -> Truth | None:
    """Read the labels, which are on the full resolution of the image, on the working grid."""
    if slide.labels is None:
        return None
    shape = source.pixels.shape[1:]
    full = source.full_shape or shape
    return open_truth(
        slide.labels,
        full,
        scale=scale,
        working_shape=shape,
        ignore_label=plan.ignore_label,
        background_label=plan.background_label,
        kind=plan.truth,
        outline=plan.outline,
        mpp=source.mpp and source.mpp / scale,
    )


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
        "outline": truth.outline if truth else None,
        "warnings": [*source.warnings, *(truth.warnings if truth else ())],
        "versions": {"slideunet": __version__}
        | {name: importlib.metadata.version(name) for name in ("zarr", "numpy")},
    }


def _write_blocks(store: Building, source: Source, threads: int) -> None:
    """Read, write and survey the blocks that are not done; each pixel is decoded once."""
    levels, grid = omezarr.open_levels(store.path, "r+"), BlockGrid(source.pixels.shape)
    for indices, pixels, window in _bands(source.pixels, grid, store.todo(), threads):

        def write(
            index: int, pixels: da.Array | np.ndarray = pixels, window: Region = window
        ) -> tuple[int, dict[str, Any]]:
            part = pixels[:, *within(grid[index], window)]
            # Blocks are what runs in parallel.
            block = np.ascontiguousarray(
                part.compute(scheduler="sync") if isinstance(part, da.Array) else part
            )
            omezarr.write_block(levels, grid[index], block, first_level=store.first_level)
            return index, {"digest": digest(block), "survey": survey_block(block)}

        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in as_completed([pool.submit(write, index) for index in indices]):
                    store.record(*done.result())
            finally:
                # After a failure nothing begins, and what has begun ends before the store is given free.
                pool.shutdown(cancel_futures=True)


def _bands(
    pixels: da.Array, grid: BlockGrid, todo: Sequence[int], threads: int
) -> Iterator[tuple[list[int], da.Array | np.ndarray, Region]]:
    """Yield blocks that are read together, the pixels to read them from, and which of the slide these are.

    Where a strip of the file crosses several blocks, one row of blocks at a time is decoded as a whole: else
    each strip would be decoded once per block.
    """
    height, width = pixels.shape[1:]
    if max(pixels.chunks[2]) <= grid.side:
        yield list(todo), pixels, (slice(0, height), slice(0, width))
        return
    for _, band in itertools.groupby(todo, key=lambda index: index // grid.across):
        indices = list(band)
        rows, _ = grid[indices[0]]
        yield indices, pixels[:, rows].compute(num_workers=threads), (rows, slice(0, width))


def _surveyed(store: Building, source: Source) -> dict[str, Any]:
    blocks = [store.done[index] for index in sorted(store.done)]
    return {
        "levels": len(level_shapes(source.pixels.shape)),
        "statistics": pooled([block["survey"] for block in blocks]),
        "content": content(source.pixels.dtype, source.pixels.shape, digests(store.done)),
    }


def _set_windows(path: Path, source: Source, facts: Mapping[str, Any]) -> None:
    windows = display_windows(
        facts["statistics"], source.pixels.dtype, colours=is_rgb(source), white=facts["white"]
    )
    omezarr.set_windows(path, windows)


def _white(source: Source, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of white of a colour image, with a warning where it is the guess of a maximum."""
    dtype = source.pixels.dtype
    if not is_rgb(source) or dtype.kind != "u":
        return {"white": None}
    most = max(channel["max"] for channel in facts["statistics"][:3])
    white = white_level(dtype, most, source.bits)
    if white in (np.iinfo(dtype).max, 2 ** (source.bits or 0) - 1):
        return {"white": white}
    guess = (
        f"the largest value of the {dtype} colours is {most:g}: they are taken to have "
        f"{white.bit_length()} bits, white is {white}"
    )
    return {"white": white, "warnings": [*facts["warnings"], guess]}


def _write_truth(path: Path, truth: Truth, *, mpp: float | None, version: Version) -> dict[str, Any]:
    shutil.rmtree(path / "labels", ignore_errors=True)
    omezarr.write_labels(path / "labels" / "truth", truth.labels, mpp=mpp, version=version)
    omezarr.list_labels(path / "labels")
    # Read back: the labels of a large slide are lazy, and would be worked out again.
    labels = omezarr.open_level(path / "labels" / "truth", 0)
    digests = verified.block_digests(labels)
    return {
        "truth": {"blocks": digests},
        "truth_content": content(labels.dtype, (1, *labels.shape), digests),
        "n_objects": truth.count,
    }
