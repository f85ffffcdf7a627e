"""Compare the predicted cells of every labelled slide of a batch with its truth."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slideunet import __version__
from slideunet.batch import each_slide, finish_batch, read_batch
from slideunet.geometry.blocks import BlockGrid
from slideunet.logs import log_to
from slideunet.scoring.error_examples import Example
from slideunet.scoring.external_grouping import in_memory, on_disk
from slideunet.scoring.otsu_baseline import Polarity
from slideunet.scoring.score_slide import METRICS_VERSION, Score, score_slide
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.manifests import is_current, read_manifest, write_manifest
from slideunet.stores.verified import open_image_store, open_label_store


def main(
    *,
    slides: list[str],
    slides_folder: Path,
    predictions_folder: Path,
    metrics_folder: Path,
    manifest: Path,
    polarity: Polarity = "auto",
) -> None:
    """Write `metrics_folder/{slide}.json` for every labelled slide, and the manifest of the batch.

    Parameters
    ----------
    slides : list of str
        The batch; slides without truth are passed over.
    slides_folder, predictions_folder : Path
        Where the manifests `{slide}.json` of the stages before lie, beside their stores.
    metrics_folder : Path
        A slide whose scores there carry the right fingerprint is not scored again.
    manifest : Path
        Written last: the fingerprints of the slides that have scores.
    polarity : {"auto", "bright", "dark"}
        Whether the Otsu baseline takes the bright or the dark class as cells.
    """
    labelled = {
        slide: slides_folder / f"{slide}.json"
        for slide in slides
        if read_manifest(slides_folder / f"{slide}.json")["n_objects"] is not None
    }

    def do(slide: str, truth: Path) -> bool:
        name = truth.name
        return score_once(slide, truth, predictions_folder / name, metrics_folder / name, polarity)

    each_slide(labelled, do)
    finish_batch(manifest, metrics_folder, labelled)


def score_once(slide: str, truth: Path, prediction: Path, target: Path, polarity: Polarity) -> bool:
    """Write the scores of one slide unless they are there; return whether there was anything to do."""
    known = fingerprint_of(read_manifest(truth), read_manifest(prediction), polarity)
    if is_current(target, known):
        return False
    with emptied(target.with_name(f".{slide}.overlaps")) as folder:
        result, examples = score(truth, prediction, polarity, folder)
    found = {"examples": [example.to_json() for example in examples]}
    write_manifest(target, {"slide": slide, "fingerprint": known, **result.to_json(), **found})
    return True


def score(slide: Path, prediction: Path, polarity: Polarity, folder: Path) -> tuple[Score, list[Example]]:
    """Score one slide, given the manifests of its image and of its prediction, and a folder for its files."""
    truth = open_label_store(slide, "truth")
    n_blocks = len(BlockGrid(truth.shape))
    return score_slide(
        open_image_store(slide),
        truth,
        open_image_store(prediction),
        open_label_store(prediction, "cells"),
        threshold=read_manifest(prediction)["cells"]["threshold"],
        polarity=polarity,
        deal=in_memory if n_blocks == 1 else on_disk(folder, n_blocks),
    )


@contextlib.contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """Make a folder that is empty, whatever a killed run has left in it, and remove it in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def fingerprint_of(slide: dict[str, Any], prediction: dict[str, Any], polarity: str) -> str:
    """Hash everything that a score depends on: both stores, the parameters and the code."""
    return fingerprint(
        slide=slide["fingerprint"],
        prediction=prediction["fingerprint"],
        cells=prediction["cells"]["fingerprint"],
        polarity=polarity,
        code=[__version__, METRICS_VERSION],
    )


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            slides=read_batch(Path(snakemake.input.cells)),
            slides_folder=Path(snakemake.params.slides_folder),
            predictions_folder=Path(snakemake.params.predictions_folder),
            metrics_folder=Path(snakemake.params.metrics_folder),
            manifest=Path(snakemake.output.manifest),
        )
