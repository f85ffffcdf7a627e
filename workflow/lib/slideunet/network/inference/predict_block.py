"""The task of a worker: predict one block of a slide and write it."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from slideunet.geometry.blocks import BlockGrid, Region, digest
from slideunet.model_json import output_maps
from slideunet.network.inference.device import take_own_gpu
from slideunet.network.inference.engines import Engine, open_engine
from slideunet.network.inference.plan import PredictionPlan
from slideunet.network.inference.scaling.cell_size import choose_scale
from slideunet.network.inference.scaling.rescaled import predict_at
from slideunet.slides import tissue
from slideunet.slides.normalisation import Normalisation
from slideunet.slides.slide_image import open_slide_image
from slideunet.slides.tissue_store import StoredMask, read_mask
from slideunet.stores import manifests, omezarr, verified


@dataclass(frozen=True)
class PredictionTask:
    """Everything needed to predict any block of a slide: paths and plain values, never pixels or weights.

    Attributes
    ----------
    plan : PredictionPlan
    image : Path
        Manifest of the slide.
    constants : Normalisation
        Constants of the slide.
    store : Path
        The pyramid to write to.
    threads : int
        Threads of the engine; the result does not depend on them.
    scale : float
        Pixels of the slide per pixel that the network sees; see `sizing.scale_for`.
    """

    plan: PredictionPlan
    image: Path
    constants: Normalisation
    store: Path
    threads: int = 1
    scale: float = 1.0


def choose_slide_scale(task: PredictionTask, _index: int = 0) -> dict[str, Any]:
    """Return the scale of the slide of a task, see `cell_size.choose_scale`, as a task without blocks."""
    facts = manifests.read_manifest(task.image)
    # A pixel of this level is a few hundred nanometres to a few micrometres: cells leave their variance.
    coarse = open_slide_image(task.image, tissue.mask_level(facts["shape"], facts["mpp"]))
    assert task.plan.sizing is not None
    return choose_scale(
        _held.engine(task), _held.slide(task).pixels, task.constants, coarse, task.plan.sizing
    )


def predict_block(task: PredictionTask, index: int) -> dict[str, Any]:
    """Predict one block and write it into all its levels.

    Returns
    -------
    dict
        "digest" of the foreground, "maps", the digest of the other maps if there are any, and "seconds".
    """
    start = time.perf_counter()
    slide = _held.slide(task)
    region = BlockGrid(slide.pixels.shape)[index]
    maps = _predicted(task, slide, region)
    foreground, others = maps[:1], maps[1:]
    omezarr.write_block(slide.levels, region, foreground)
    facts = {"digest": digest(foreground)}
    if slide.maps:
        omezarr.write_block(slide.maps, region, others)
        facts["maps"] = digest(others)
    return facts | {"seconds": round(time.perf_counter() - start, 3)}


@dataclass(frozen=True)
class _Slide:
    """A slide and the arrays that its prediction is written to."""

    pixels: verified.StoredPixels
    mask: StoredMask | None
    levels: list[zarr.Array]
    maps: list[zarr.Array]


class _Held:
    """One engine and one open slide, shared by all threads of this process.

    Opening a slide checks that all its chunks exist, and loading an engine takes seconds, so neither is done
    twice; the engine stays when the slide changes.
    """

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._slide: tuple[PredictionTask, _Slide] | None = None
        self._engine: tuple[tuple[Any, ...], Engine] | None = None

    def slide(self, task: PredictionTask) -> _Slide:
        """Return the slide of a task."""
        with self._opening:
            if self._slide is None or self._slide[0] != task:
                self._slide = task, _open_slide(task)
            return self._slide[1]

    def engine(self, task: PredictionTask) -> Engine:
        """Return the engine of a task; it is loaded when the first block needs it."""
        plan = task.plan
        # The facts contain the digest of the weights: the folder may have held others before.
        key = (plan.facts, plan.engine, plan.heads, plan.precision, task.threads)
        with self._opening:
            if self._engine is None or self._engine[0] != key:
                take_own_gpu()
                self._engine = (
                    key,
                    open_engine(
                        plan.model,
                        plan.facts,
                        engine=plan.engine,
                        heads=plan.heads,
                        precision=plan.precision,
                        threads=task.threads,
                    ),
                )
            return self._engine[1]


_held = _Held()


def _open_slide(task: PredictionTask) -> _Slide:
    maps = task.store / omezarr.MAPS
    return _Slide(
        open_slide_image(task.image),
        read_mask(task.store, manifests.read_manifest(task.image)),
        omezarr.open_levels(task.store, "r+"),
        omezarr.open_levels(maps, "r+") if maps.is_dir() else [],
    )


def _predicted(task: PredictionTask, slide: _Slide, region: Region) -> np.ndarray:
    """Return the maps (maps, h, w) uint8 of a block, 0 outside the tissue."""
    rows, columns = region
    wanted = None
    if slide.mask is not None:
        wanted = tissue.upsampled(slide.mask.pixels, slide.mask.level, rows, columns)
        if not wanted.any():
            return np.zeros((len(output_maps(task.plan.heads)), *wanted.shape), np.uint8)
    core = ((rows.start, rows.stop), (columns.start, columns.stop))
    return predict_at(
        _held.engine(task),
        slide.pixels,
        task.constants,
        core,
        task.scale,
        tile=task.plan.tile,
        wanted=wanted,
    )
