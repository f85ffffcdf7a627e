"""Prediction of a job batch: skip slides that are up to date, distribute the others."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from slideunet.batch import counted, each_slide
from slideunet.clusters import Workers
from slideunet.network.inference.plan import Part, PredictionPlan
from slideunet.stores.manifests import is_current, read_manifest


def predict_batch(
    images: Mapping[str, Path],
    folder: Path,
    plan: PredictionPlan,
    *,
    dask: Mapping[str, Any],
    threads: int,
    memory_mb: int,
    part: Part | None = None,
    again: Collection[str] = (),
) -> None:
    """Write `folder/{slide}.zarr` + `.json` of every slide that is not up to date.

    Parameters
    ----------
    images : mapping
        Slide id to its manifest, beside which its store lies.
    folder : Path
        Folder of the predictions.
    plan : PredictionPlan
    dask : mapping
        Section `dask` of the configuration.
    threads, memory_mb : int
        Threads and memory of this job.
    part : (number, parts), optional
        Predict this share of the blocks only; the job without a part finishes the stores.
    again : collection of str
        Slides to predict although they are up to date, because parts of their stores were dropped.
    """
    stale = {
        slide: image
        for slide, image in images.items()
        if slide in again or not is_current(folder / f"{slide}.json", plan.fingerprint(image))
    }
    logging.info(counted({slide: slide in stale for slide in images}, "to predict"))
    if not stale:
        return
    # torch takes seconds to load, so only when there is something to predict.
    import torch

    from slideunet.network.inference.engines import discard_kept_engine
    from slideunet.network.inference.predict_slide import predict_slide

    gpus = torch.cuda.device_count() if plan.engine == "torch" else 0
    with Workers(dask, threads, memory_mb, gpus) as workers:

        def predict(slide: str, image: Path) -> bool:
            # OpenVINO's result does not depend on its threads; torch has one on a CPU.
            client = workers.client_for(read_manifest(image)["shape"], threaded=plan.engine == "openvino")
            if client is not None:
                discard_kept_engine()
            predict_slide(
                image,
                folder / f"{slide}.json",
                plan,
                client=client,
                threads=threads if client is None else workers.threads_per_worker,
                at_once=workers.tasks,
                part=part,
            )
            return True

        each_slide(stale, predict)
