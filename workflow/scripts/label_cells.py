"""Separate and number the cells of the predicted slides of a batch."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from slideunet import __version__
from slideunet.batch import each_slide, finish_batch
from slideunet.cells.numbering import number_by_blocks
from slideunet.cells.separation import SEPARATION_VERSION, Method, separate
from slideunet.fingerprint import fingerprint
from slideunet.images import stores
from slideunet.images.omezarr import Version
from slideunet.logs import log_to
from slideunet.network.facts import read_model_facts


def main(
    *,
    slides: Sequence[str],
    predictions_folder: Path,
    model: Path,
    threshold: float | Literal["tuned"],
    method: Method,
    min_area: int,
    ome_zarr: Version,
    manifest: Path,
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
    method, min_area
        See `slideunet.cells.separation.separate`.
    ome_zarr : "0.5" or "0.4"
    manifest : Path
        Of the batch.
    """
    cut = float(read_model_facts(model)["threshold"] if threshold == "tuned" else threshold)

    def label(slide: str, prediction: Path) -> bool:
        known = stores.read_manifest(prediction)
        facts: dict[str, Any] = {"threshold": cut, "method": method, "min_area": min_area}
        wanted = fingerprint(
            prediction=known["fingerprint"], code=[__version__, SEPARATION_VERSION], version=ome_zarr, **facts
        )
        if known.get("cells", {}).get("fingerprint") == wanted:
            return False
        cells = number_by_blocks(separate(stores.open_image_store(prediction)[0], cut, method, min_area))
        facts |= {"fingerprint": wanted, "n_cells": int(cells.max(initial=0))}
        stores.put_labels(prediction, "cells", cells, mpp=known["mpp"], version=ome_zarr, facts=facts)
        return True

    done = each_slide({slide: predictions_folder / f"{slide}.json" for slide in slides}, label)
    logging.info(f"Cells of {sum(done.values())} of {len(done)} slides separated, the others were up to date")
    finish_batch(manifest, predictions_folder, done)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            slides=snakemake.params.slides,
            predictions_folder=Path(snakemake.params.predictions_folder),
            model=Path(snakemake.input.model).parent,
            threshold=snakemake.params.threshold,
            method=snakemake.params.method,
            min_area=snakemake.params.min_area,
            ome_zarr=snakemake.params.ome_zarr,
            manifest=Path(snakemake.output.manifest),
        )
