"""Predicting a batch: choose engine and precision, pass over what is up to date, share out the rest."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from slideunet.batch import each_slide
from slideunet.cells.separation.decoding import Method, heads_for, method_for
from slideunet.clusters import Workers
from slideunet.model_json import read_model_facts
from slideunet.network.inference.choose_engine import choose_engine
from slideunet.network.inference.plan import Part, Plan
from slideunet.stores.manifests import is_current, read_manifest
from slideunet.stores.ngff_metadata import Version

Section = Mapping[str, Any]


def predict_batch(
    slides: Sequence[str],
    slides_folder: Path,
    model: Path,
    predictions_folder: Path,
    *,
    prediction: Section,
    method: Method | Literal["auto"],
    dask: Section,
    version: Version,
    threads: int,
    memory_mb: int,
    part: Part | None = None,
) -> None:
    """Write `predictions_folder/{slide}.zarr` + `.json` of every slide that is not up to date.

    Parameters
    ----------
    slides : sequence of str
    slides_folder, predictions_folder : Path
        Where the manifests `{slide}.json` lie, beside their stores.
    model : Path
        Folder of the model.
    prediction, dask : mappings
        These sections of the configuration.
    method : str
        That will separate the cells: what it needs of the model is kept besides the foreground.
    version : "0.5" or "0.4"
        Of OME-Zarr.
    threads, memory_mb : int
        What this job may use.
    part : (number, parts), optional
        Predict this share of the blocks only; the job without a part finishes the stores.
    """
    facts = read_model_facts(model)
    engine, precision = choose_engine(
        predictions_folder,
        model,
        facts,
        engine=prediction["engine"],
        precision=prediction["precision"],
        threads=threads,
    )
    heads = heads_for(method_for(method, facts))
    plan = Plan.from_section(prediction, engine, precision, version, heads)
    plan.check_halo(facts)
    images = {slide: slides_folder / f"{slide}.json" for slide in slides}
    stale = {
        slide: image
        for slide, image in images.items()
        if not is_current(predictions_folder / f"{slide}.json", plan.fingerprint(image, facts))
    }
    logging.info(f"{len(stale)} of {len(slides)} slides to predict, the others are up to date")
    if not stale:
        return
    # torch takes seconds to load, so only when there is something to predict.
    import torch

    from slideunet.network.inference.predict_slide import predict_slide

    gpus = torch.cuda.device_count() if plan.engine == "torch" else 0
    with Workers(dask, threads, memory_mb, gpus) as workers:

        def predict(slide: str, image: Path) -> bool:
            client = workers.client_for(read_manifest(image)["shape"])
            predict_slide(
                image,
                model,
                predictions_folder / f"{slide}.json",
                plan,
                client=client,
                threads=threads if client is None else workers.threads_per_worker,
                part=part,
            )
            return True

        each_slide(stale, predict)
