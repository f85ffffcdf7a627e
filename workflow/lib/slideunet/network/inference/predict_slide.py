"""Prediction of a slide into its store, block by block, in this process or on the workers of a cluster."""

import dataclasses
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slideunet import __version__
from slideunet.geometry.blocks import BlockGrid
from slideunet.logs import progress_line
from slideunet.model_json import output_maps
from slideunet.network.inference.plan import Part, PredictionPlan, engine_version
from slideunet.network.inference.predict_block import (
    PredictionTask,
    choose_slide_scale,
    predict_block,
)
from slideunet.network.inference.scaling.sizing import given_scale
from slideunet.slides.normalisation import normalisation
from slideunet.slides.tissue_store import StoredMask, make_mask
from slideunet.stores import manifests, omezarr
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.ngff_metadata import Version
from slideunet.stores.resumable import Building, building, digests

if TYPE_CHECKING:  # Without a cluster dask is not needed.
    import distributed

BlockResult = tuple[int, dict[str, Any]]


def predict_slide(
    image: Path,
    manifest: Path,
    plan: PredictionPlan,
    *,
    client: "distributed.Client | None" = None,
    threads: int = 1,
    at_once: int = 1,
    part: Part | None = None,
) -> None:
    """Predict one slide, or one part of it, and write its store and manifest.

    Blocks that an interrupted run has finished are kept. The result does not depend on tile, workers, parts
    or threads.

    Parameters
    ----------
    image, manifest : Path
        Manifest of the slide, and of the prediction to write.
    plan : PredictionPlan
    client : distributed.Client, optional
        Client of the cluster whose workers predict; without it this process predicts.
    threads : int
        Threads of the engine in each process.
    at_once : int
        Blocks in progress in this process: while a GPU computes one, others are read and written.
    part : (number, parts), optional
        Predict this share of the blocks only and leave the store unfinished; the job without a part finishes
        it.
    """
    start = time.perf_counter()
    slide, known = manifests.read_manifest(image), plan.fingerprint(image)
    # Blocks of two versions are never mixed, but a finished slide stays when a version changes.
    versioned = fingerprint(known=known, code=__version__, engine=engine_version(plan.engine))
    number = None if part is None else part[0]
    maps = output_maps(plan.heads)[1:]
    with building(manifest, versioned, _creator(slide, maps, plan.version), part=number) as store:
        mask = make_mask(store.path, image, plan.tissue, plan.facts["background"], plan.version)
        constants = normalisation(slide["statistics"], plan.facts["normalisation"], plan.facts["background"])
        task = PredictionTask(plan, image.absolute(), constants, store.path.absolute(), threads)
        size = _cell_size(store, task, slide["slide"], client)
        task = dataclasses.replace(task, scale=size["scale"])
        _work(store, task, slide, client, at_once, part or (0, 1))
        if part is None:
            facts = _describe(slide, plan, mask) | {"cell_size": size, "fingerprint": known}
            if maps:
                facts["maps"] = {"names": maps, "blocks": digests(store.done, "maps")}
            store.finish(facts | _speed(slide, time.perf_counter() - start))


def _cell_size(
    store: Building, task: PredictionTask, slide: str, client: "distributed.Client | None"
) -> dict[str, Any]:
    """Return the scale of a slide and the diameter of its cells, where that was measured."""
    size = given_scale(task.plan.sizing)
    if size is None:
        size = store.decided("cell_size", functools.partial(_choose_scale, task, slide, client))
    if size["scale"] != 1:
        change = "reduced" if size["scale"] > 1 else "enlarged"
        times = max(size["scale"], 1 / size["scale"])
        logging.info(
            f"{slide}: cells of about {size['diameter']:g} px, {change} {times:g} times for the network"
        )
    return size


def _choose_scale(task: PredictionTask, slide: str, client: "distributed.Client | None") -> dict[str, Any]:
    """Choose the scale here, or on a worker, which may have another processor than this process."""
    if client is None:
        return choose_slide_scale(task)
    from slideunet.clusters import work_through

    do = functools.partial(choose_slide_scale, task)
    return dict(work_through(client, [0], do, name=lambda _: f"slide {slide}, size of the cells"))[0]


def _work(
    store: Building,
    task: PredictionTask,
    slide: Mapping[str, Any],
    client: "distributed.Client | None",
    at_once: int,
    part: Part,
) -> None:
    """Predict the blocks of a part that are not done, and log speed and time left."""
    number, parts = part
    count = len(BlockGrid(slide["shape"]))
    share = range(count * number // parts, count * (number + 1) // parts)
    todo = store.todo(share)
    if len(todo) < len(share):
        logging.info(f"{slide['slide']}: resuming, {len(share) - len(todo)} of {len(share)} blocks are done")
    sizes = {index: _pixels(slide["shape"], index) for index in todo}
    do = functools.partial(predict_block, task)
    if client is None:
        done = _in_threads(do, todo, at_once)
    else:
        from slideunet.clusters import work_through

        done = work_through(client, todo, do, name=functools.partial(_name, slide["slide"]))
    with progress_line(sum(sizes.values()), unit="px", label=slide["slide"]) as bar:
        for index, facts in done:
            store.record(index, facts)
            bar.update(sizes[index])


def _in_threads(
    do: Callable[[int], dict[str, Any]], todo: Sequence[int], at_once: int
) -> Iterator[BlockResult]:
    """Yield every block with its facts, in order; the first failure cancels the others."""
    if at_once == 1:
        yield from ((index, do(index)) for index in todo)
        return
    with ThreadPoolExecutor(at_once) as pool:
        flying: deque[tuple[int, Future[dict[str, Any]]]] = deque()
        try:
            for index in todo:
                flying.append((index, pool.submit(do, index)))
                if len(flying) > at_once:
                    done, future = flying.popleft()
                    yield done, future.result()
            while flying:
                done, future = flying.popleft()
                yield done, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _name(slide: str, index: int) -> str:
    return f"slide {slide}, block {index}"


def _pixels(shape: tuple[int, ...], index: int) -> int:
    rows, columns = BlockGrid(shape)[index]
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _creator(slide: Mapping[str, Any], maps: Sequence[str], version: Version) -> Callable[[Path], None]:
    """Return a function that creates an empty store: a pyramid of the foreground, other maps at full size."""
    create = functools.partial(
        omezarr.create_image, dtype=np.dtype(np.uint8), mpp=slide["mpp"], version=version, name=slide["slide"]
    )
    plane = slide["shape"][1:]

    def make(path: Path) -> None:
        create(path, shape=(1, *plane), channels=["foreground"])
        if maps:
            create(path / omezarr.MAPS, shape=(len(maps), *plane), channels=maps, levels=1)

    return make


def _describe(slide: Mapping[str, Any], plan: PredictionPlan, mask: StoredMask | None) -> dict[str, Any]:
    return {
        "slide": slide["slide"],
        "shape": [1, *slide["shape"][1:]],
        "model_sha256": plan.facts["sha256"],
        "engine": plan.engine,
        "precision": plan.precision,
        "halo": plan.facts["halo"],
        "tissue": None if mask is None else mask.facts(tuple(slide["shape"])),
        "mpp": slide["mpp"],
        "scale": slide["scale"],
        "versions": {"slideunet": __version__, plan.engine: engine_version(plan.engine)},
    }


def _speed(slide: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """Return time and speed of this run; blocks that an earlier run finished make it look faster."""
    size = slide["shape"][1] * slide["shape"][2]
    logging.info(
        f"{slide['slide']}: {size / 1e6:.2f} Mpx in {seconds:.1f} s, {size / seconds / 1e6:.2f} Mpx/s"
    )
    return {"seconds": round(seconds, 3), "pixels_per_second": round(size / seconds)}
