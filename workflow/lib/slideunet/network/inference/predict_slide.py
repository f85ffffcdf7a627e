"""Predicting a slide into its store, block by block, in this process or on the workers of a cluster."""

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import distributed
import numpy as np

from slideunet import __version__
from slideunet.clusters import work_through
from slideunet.geometry.blocks import BlockGrid
from slideunet.logs import progress_line
from slideunet.model_json import output_maps, read_model_facts
from slideunet.network.inference.plan import Part, Plan, engine_version
from slideunet.network.inference.predict_block import Task, measure_halo, predict_block
from slideunet.slides.tissue_store import StoredMask, make_mask
from slideunet.stores import manifests, omezarr
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.ngff_metadata import Version
from slideunet.stores.resumable import Building, building, digests


def predict_slide(
    image: Path,
    model: Path,
    manifest: Path,
    plan: Plan,
    *,
    client: distributed.Client | None = None,
    threads: int = 1,
    part: Part | None = None,
) -> None:
    """Predict one slide, or one part of it, and write its store and manifest.

    What an interrupted run has finished is kept. The result does not depend on tile, workers, parts or
    threads.

    Parameters
    ----------
    image, manifest : Path
        Manifest of the slide, and of the prediction to write.
    model : Path
        Its folder.
    plan : Plan
    client : distributed.Client, optional
        Of the cluster that works; without it this process does.
    threads : int
        Of the engine in each process.
    part : (number, parts), optional
        Do this share of the blocks only and leave the store unfinished; who has no part finishes it.
    """
    start = time.perf_counter()
    slide, facts = manifests.read_manifest(image), read_model_facts(model)
    known = plan.fingerprint(image, facts)
    # Blocks of two versions are never mixed, but a finished slide stays when a version changes.
    versioned = fingerprint(known=known, code=__version__, engine=engine_version(plan.engine))
    number = None if part is None else part[0]
    maps = output_maps(plan.heads)[1:]
    with building(manifest, versioned, _creator(slide, maps, plan.version), part=number) as store:
        mask = make_mask(store.path, image, plan.tissue, facts["background"], plan.version)
        task = Task(
            # Workers of another cluster have a working directory of their own.
            image=image.absolute(),
            model=model.absolute(),
            sha256=facts["sha256"],
            store=store.path.absolute(),
            engine=plan.engine,
            precision=plan.precision,
            threads=threads,
            tile=plan.tile,
            halo=plan.halo,
            heads=plan.heads,
        )
        _work(store, task, slide, client, part or (0, 1))
        if part is None:
            told = _describe(slide, facts, plan, mask) | {"fingerprint": known}
            if maps:
                told["maps"] = {"names": maps, "blocks": digests(store.done, "maps")}
            told["halo_deviation"] = _judge_halo(task, slide, facts["threshold"], client)
            store.finish(told | _speed(slide, time.perf_counter() - start))


def _work(
    store: Building, task: Task, slide: Mapping[str, Any], client: distributed.Client | None, part: Part
) -> None:
    """Do the blocks of a part that are not done, and tell speed and time left."""
    number, parts = part
    count = len(BlockGrid(slide["shape"]))
    share = range(count * number // parts, count * (number + 1) // parts)
    todo = store.todo(share)
    if len(todo) < len(share):
        logging.info(f"{slide['slide']}: going on, {len(share) - len(todo)} of {len(share)} blocks are done")
    sizes = {index: _pixels(slide["shape"], index) for index in todo}
    do = functools.partial(predict_block, task)
    with progress_line(sum(sizes.values()), unit="px", label=slide["slide"]) as bar:
        for index, facts in work_through(client, todo, do, name=functools.partial(_name, slide["slide"])):
            store.record(index, facts)
            bar.update(sizes[index])


def _name(slide: str, index: int) -> str:
    return f"slide {slide}, block {index}"


def _judge_halo(
    task: Task, slide: Mapping[str, Any], threshold: float, client: distributed.Client | None
) -> dict[str, Any] | None:
    """Tell what a halo that is not exact has changed, in the middle block; None for the exact one."""
    if task.halo is None:
        return None
    middle = [len(BlockGrid(slide["shape"])) // 2]
    ((_, found),) = work_through(client, middle, functools.partial(measure_halo, task, threshold))
    logging.warning(
        f"{slide['slide']}: halo {task.halo} changes the probability by up to {found['largest']} of 255, "
        f"and {found['crossing']:.5%} of the pixels change sides at the threshold (measured in one block)"
    )
    return found


def _pixels(shape: tuple[int, ...], index: int) -> int:
    rows, columns = BlockGrid(shape)[index]
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _creator(slide: Mapping[str, Any], maps: Sequence[str], version: Version) -> Callable[[Path], None]:
    """Return what makes an empty store: the foreground as a pyramid, other maps at full size beside it."""
    create = functools.partial(
        omezarr.create_image, dtype=np.dtype(np.uint8), mpp=slide["mpp"], version=version, name=slide["slide"]
    )
    plane = slide["shape"][1:]

    def make(path: Path) -> None:
        create(path, shape=(1, *plane), channels=["foreground"])
        if maps:
            create(path / omezarr.MAPS, shape=(len(maps), *plane), channels=maps, levels=1)

    return make


def _describe(
    slide: Mapping[str, Any], facts: Mapping[str, Any], plan: Plan, mask: StoredMask | None
) -> dict[str, Any]:
    return {
        "slide": slide["slide"],
        "shape": [1, *slide["shape"][1:]],
        "model_sha256": facts["sha256"],
        "engine": plan.engine,
        "precision": plan.precision,
        "halo": facts["halo"] if plan.halo is None else plan.halo,
        "tissue": None if mask is None else mask.facts(tuple(slide["shape"])),
        "mpp": slide["mpp"],
        "scale": slide["scale"],
        "versions": {"slideunet": __version__, plan.engine: engine_version(plan.engine)},
    }


def _speed(slide: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """Of this run: what an earlier one had finished makes it look faster."""
    size = slide["shape"][1] * slide["shape"][2]
    logging.info(
        f"{slide['slide']}: {size / 1e6:.2f} Mpx in {seconds:.1f} s, {size / seconds / 1e6:.2f} Mpx/s"
    )
    return {"seconds": round(seconds, 3), "pixels_per_second": round(size / seconds)}
