"""Separate and number the cells of the predicted slides of a batch."""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from slideunet.batch import counted, each_slide, finish_batch, read_batch
from slideunet.cells.separation.decoding import decoding_for
from slideunet.cells.separation.label_slide import cells_fingerprint, label_slide
from slideunet.clusters import Workers
from slideunet.logs import log_to
from slideunet.model_json import read_model_facts
from slideunet.needed import missing_parts
from slideunet.stores.kept import KEEPABLE
from slideunet.stores.manifests import is_current, read_fingerprint, read_manifest
from slideunet.stores.ngff_metadata import Version


def main(
    *,
    slides: Sequence[str],
    predictions_folder: Path,
    model: Path,
    threshold: float | Literal["tuned"],
    cells: Mapping[str, Any],
    ome_zarr: Version,
    manifest: Path,
    dask: Mapping[str, Any],
    keep: Collection[str] = KEEPABLE,
    later: Mapping[str, Any] | None = None,
    threads: int = 1,
    memory_mb: int = 4000,
) -> None:
    """Write `labels/cells` into the prediction of every slide, then the batch manifest.

    Parameters
    ----------
    slides : sequence of str
        The batch. A slide whose cells carry the right fingerprint is passed over.
    predictions_folder : Path
        Where the manifests `{slide}.json` lie, beside their stores.
    model : Path
        Folder of the model that predicted.
    threshold : float or "tuned"
        Foreground probability of a cell's pixels; "tuned" takes the model's.
    cells : mapping
        `method`, `min_area` and `min_probability` of this section of the configuration.
    ome_zarr : "0.5" or "0.4"
    manifest : Path
        Of the batch.
    dask : mapping
        This section of the configuration.
    keep, later
        As `needed.missing_parts`: labels that were dropped are made again where these ask for it.
    threads, memory_mb : int
        What this job may use.
    """
    decoding = decoding_for(read_model_facts(model), threshold=threshold, **cells)
    predictions = {slide: predictions_folder / f"{slide}.json" for slide in slides}
    lacking = missing_parts(predictions, keep, later, model)
    with Workers(dask, threads, memory_mb) as workers:

        def label(slide: str, prediction: Path) -> bool:
            facts = read_manifest(prediction)
            wanted = cells_fingerprint(facts, decoding, ome_zarr)
            current = is_current(prediction, wanted, partial(read_fingerprint, name="cells"))
            if current and "labels" not in lacking[slide]:
                return False
            client = workers.client_for(facts["shape"])
            label_slide(prediction, wanted, decoding=decoding, version=ome_zarr, client=client)
            return True

        done = each_slide(predictions, label)
    logging.info(counted(done, "separated into cells"))
    finish_batch(manifest, predictions_folder, done)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            slides=read_batch(Path(snakemake.input.predictions)),
            predictions_folder=Path(snakemake.params.predictions_folder),
            model=Path(snakemake.input.model).parent,
            threshold=snakemake.params.threshold,
            cells=snakemake.params.cells,
            ome_zarr=snakemake.params.ome_zarr,
            manifest=Path(snakemake.output.manifest),
            dask=snakemake.params.dask,
            keep=snakemake.params.keep,
            later=snakemake.params.later,
            threads=snakemake.threads,
            memory_mb=snakemake.resources.mem_mb,
        )
