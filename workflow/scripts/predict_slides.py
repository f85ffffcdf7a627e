"""Predict the foreground probability of the slides of a batch; what is up to date is left alone."""

import logging
from collections.abc import Sequence
from pathlib import Path

from slideunet.batch import each_slide, finish_batch
from slideunet.images.omezarr import Version
from slideunet.images.stores import is_current
from slideunet.logs import log_to
from slideunet.network.facts import choose_prediction_precision, prediction_fingerprint, read_model_facts


def main(
    *,
    slides: Sequence[str],
    slides_folder: Path,
    model: Path,
    predictions_folder: Path,
    manifest: Path,
    precision: str,
    tile: str | int,
    ome_zarr: Version,
    threads: int = 1,
) -> None:
    """Write `predictions_folder/{slide}.zarr` + `.json` for every slide, then the batch manifest."""
    facts = read_model_facts(model)
    chosen = choose_prediction_precision(facts, precision)
    wanted = {
        slide: prediction_fingerprint(slides_folder / f"{slide}.json", facts, chosen, ome_zarr)
        for slide in slides
    }
    stale = {
        slide: known
        for slide, known in wanted.items()
        if not is_current(predictions_folder / f"{slide}.json", known)
    }
    logging.info(f"{len(stale)} of {len(wanted)} slides to predict, the others are up to date")
    if stale:
        # torch takes seconds to load, so only when there is something to predict.
        from slideunet.network.prediction import open_network, predict_slide

        network = open_network(model)

        def predict(slide: str, known: str) -> bool:
            predict_slide(
                network,
                facts,
                slides_folder / f"{slide}.json",
                predictions_folder / f"{slide}.json",
                fingerprint=known,
                precision=chosen,
                tile=None if tile == "auto" else int(tile),
                version=ome_zarr,
                threads=threads,
            )
            return True

        each_slide(stale, predict)
    finish_batch(manifest, predictions_folder, wanted)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            slides=snakemake.params.slides,
            slides_folder=Path(snakemake.params.slides_folder),
            model=Path(snakemake.input.model).parent,
            predictions_folder=Path(snakemake.params.predictions_folder),
            manifest=Path(snakemake.output.manifest),
            precision=snakemake.params.precision,
            tile=snakemake.params.tile,
            ome_zarr=snakemake.params.ome_zarr,
            threads=snakemake.threads,
        )
