"""What a worker does: predict one block of a slide and write it."""

import contextlib
import functools
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import zarr

from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.model_json import EngineName, Head, Precision, output_maps, read_model_facts
from slideunet.network.inference.engines import Engine, open_engine
from slideunet.network.inference.predict_region import halo_deviation, predict_core
from slideunet.slides import tissue
from slideunet.slides.normalisation import Normalisation, normalisation
from slideunet.slides.tissue_store import StoredMask, read_mask
from slideunet.stores import manifests, omezarr, verified

_TRIAL = 1024  # Half the side of the region on which a short halo is judged, in pixels.


@dataclass(frozen=True)
class Task:
    """All that it takes to predict any block of a slide: paths and plain values, never pixels or weights.

    Attributes
    ----------
    image : Path
        Manifest of the slide.
    model : Path
        Folder of the model.
    sha256 : str
        Of its weights: a cluster that runs on may have loaded others from the same folder.
    store : Path
        The pyramid to write to.
    engine : "openvino" or "torch"
    precision : "fp32" or "bf16"
    threads : int
        Of the engine; the result does not depend on them.
    tile, halo : int or None
        In pixels. None is the best tile for this machine, and the halo that makes the result exact.
    heads : tuple of "centres" and "distance"
        What is computed besides the foreground.
    """

    image: Path
    model: Path
    sha256: str
    store: Path
    engine: EngineName
    precision: Precision
    threads: int
    tile: int | None
    halo: int | None
    heads: tuple[Head, ...] = ()


def predict_block(task: Task, index: int) -> dict[str, Any]:
    """Predict one block and write it into all its levels.

    Returns
    -------
    dict
        The "digest" of its foreground, that of its other "maps" if there are any, and the "seconds" it took.
    """
    start = time.perf_counter()
    slide = _slide_of(task)
    region = BlockGrid(slide.pixels.shape)[index]
    found = _predicted(task, slide, region)
    foreground, others = found[:1], found[1:]
    omezarr.write_block(slide.levels, region, foreground)
    facts = {"digest": digest(foreground)}
    if slide.maps:
        omezarr.write_block(slide.maps, region, others)
        facts["maps"] = digest(others)
    return facts | {"seconds": round(time.perf_counter() - start, 3)}


def measure_halo(task: Task, threshold: float, index: int) -> dict[str, Any]:
    """Compare the halo of a task with the exact one in the middle of a block; see `cores.halo_deviation`.

    Returns
    -------
    dict
        "largest", of 255, and "crossing", the share of pixels that change sides at the threshold.
    """
    slide = _slide_of(task)
    core = tuple(
        (middle - min(middle - part.start, _TRIAL), middle + min(part.stop - middle, _TRIAL))
        for part in BlockGrid(slide.pixels.shape)[index]
        for middle in ((part.start + part.stop) // 2,)
    )
    found = halo_deviation(
        _engine_of(task),
        slide.pixels,
        slide.constants,
        (core[0], core[1]),
        halo=task.halo or 0,
        threshold=threshold,
        tile=task.tile,
    )
    return {"largest": found.largest, "crossing": found.crossing}


@dataclass(frozen=True)
class _Slide:
    pixels: verified.StoredPixels
    constants: Normalisation
    mask: StoredMask | None
    levels: list[zarr.Array]
    maps: list[zarr.Array]


# Opening looks for every chunk of a slide, and loading an engine takes seconds: once per process, whatever
# the number of its threads.
_opening = threading.Lock()


def _slide_of(task: Task) -> _Slide:
    with _opening:
        return _open(task.image, task.store, task.model)


def _engine_of(task: Task) -> Engine:
    with _opening:
        return _engine(task.model, task.sha256, task.engine, task.heads, task.precision, task.threads)


@functools.lru_cache(maxsize=1)
def _open(image: Path, store: Path, model: Path) -> _Slide:
    slide, facts = manifests.read_manifest(image), read_model_facts(model)
    maps = store / omezarr.MAPS
    others = omezarr.open_levels(maps, "r+") if maps.is_dir() else []
    return _Slide(
        verified.open_image_store(image),
        normalisation(slide["statistics"], facts["normalisation"], facts["background"]),
        read_mask(store, slide),
        omezarr.open_levels(store, "r+"),
        others,
    )


@functools.lru_cache(maxsize=1)
def _engine(
    model: Path,
    sha256: str,
    engine: EngineName,
    heads: tuple[Head, ...],
    precision: Precision,
    threads: int,
) -> Engine:
    del sha256  # tells one version of the model from the next
    _take_own_gpu()
    return open_engine(model, engine=engine, heads=heads, precision=precision, threads=threads)


@functools.cache
def _take_own_gpu() -> None:
    """Show a worker of a local cluster only the GPU with its number, before CUDA is looked at."""
    with contextlib.suppress(ValueError):  # not in a worker
        name = distributed.get_worker().name
        if isinstance(name, int):
            shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            own = shown.split(",")[name : name + 1] if shown else [str(name)]
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)


def _predicted(task: Task, slide: _Slide, region: tuple[slice, slice]) -> np.ndarray:
    """Return the maps (maps, h, w) uint8 of a block, 0 outside the tissue."""
    rows, columns = region
    wanted = None
    if slide.mask is not None:
        wanted = tissue.upsampled(slide.mask.pixels, slide.mask.level, rows, columns)
        if not wanted.any():
            return np.zeros((len(output_maps(task.heads)), *wanted.shape), np.uint8)
    return predict_core(
        _engine_of(task),
        slide.pixels,
        slide.constants,
        ((rows.start, rows.stop), (columns.start, columns.stop)),
        tile=task.tile,
        wanted=wanted,
        halo=task.halo,
    )
