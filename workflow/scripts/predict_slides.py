"""Predict the slides of a batch, or a share of their blocks; what is up to date is left alone."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from slideunet.batch import finish_batch, read_batch
from slideunet.cells.separation.decoding import Method
from slideunet.logs import log_to
from slideunet.needed import missing_parts
from slideunet.network.inference.plan import plan_prediction
from slideunet.network.inference.predict_batch import predict_batch
from slideunet.stores.kept import KEEPABLE
from slideunet.stores.manifests import read_manifest, write_manifest
from slideunet.stores.ngff_metadata import Version


def main(
    *,
    slides: Sequence[str],
    slides_folder: Path,
    model: Path,
    predictions_folder: Path,
    manifest: Path,
    prediction: Mapping[str, Any],
    method: Method | Literal["auto"],
    dask: Mapping[str, Any],
    ome_zarr: Version,
    diameter: float | Literal["auto"] | None = None,
    keep: Collection[str] = KEEPABLE,
    later: Mapping[str, Any] | None = None,
    part: int | None = None,
    threads: int = 1,
    memory_mb: int = 4000,
) -> None:
    """Write `predictions_folder/{slide}.zarr` + `.json` for every slide, then the batch manifest.

    With `part`, only the blocks of that part (from 0) of `prediction["parts"]` are written, which no other
    part writes; the job without one finishes the slides. A slide whose maps were dropped is predicted again
    if they are to stay from now on (`keep`) or are needed for what comes `later`; see `needed.missing_parts`.
    """
    parts = prediction["parts"]
    images = {slide: slides_folder / f"{slide}.json" for slide in slides}
    plan = plan_prediction(
        model,
        predictions_folder,
        prediction,
        method=method,
        diameter=diameter,
        version=ome_zarr,
        threads=threads,
        pixels=sum(math.prod(read_manifest(image)["shape"][-2:]) for image in images.values()),
    )
    predictions = {slide: predictions_folder / f"{slide}.json" for slide in slides}
    lacking = missing_parts(predictions, keep, later, model)
    predict_batch(
        images,
        predictions_folder,
        plan,
        dask=dask,
        threads=threads,
        memory_mb=memory_mb,
        part=None if part is None else (part, parts),
        again={slide for slide, gone in lacking.items() if gone & {"maps", "predictions"}},
    )
    if part is None:
        finish_batch(manifest, predictions_folder, slides)
    else:
        write_manifest(manifest, {"slides": list(slides), "part": part, "parts": parts})


if __name__ == "__main__":
    number = snakemake.wildcards.get("part")
    with log_to(snakemake.log[0]):
        main(
            slides=read_batch(Path(snakemake.input.slides)),
            slides_folder=Path(snakemake.params.slides_folder),
            model=Path(snakemake.input.model[0]).parent,
            predictions_folder=Path(snakemake.params.predictions_folder),
            manifest=Path(snakemake.output.manifest),
            prediction=snakemake.params.prediction,
            method=snakemake.params.method,
            diameter=snakemake.params.diameter,
            dask=snakemake.params.dask,
            ome_zarr=snakemake.params.ome_zarr,
            keep=snakemake.params.keep,
            later=snakemake.params.later,
            part=None if number is None else int(number),
            threads=snakemake.threads,
            memory_mb=snakemake.resources.mem_mb,
        )
