"""Score the predicted cells of every labelled slide of a batch against its ground truth."""

import shutil
from dataclasses import asdict
from pathlib import Path

from slideunet.batch import each_slide, finish_batch, read_batch
from slideunet.geometry.blocks import BlockGrid
from slideunet.logs import log_to
from slideunet.scoring.external_grouping import in_memory, on_disk
from slideunet.scoring.otsu_baseline import Polarity
from slideunet.scoring.score_slide import METRICS_VERSION, score_fingerprint, score_slide
from slideunet.slides.slide_image import open_slide_image
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
        The batch; slides without ground truth are skipped.
    slides_folder, predictions_folder : Path
        Folders with the manifests `{slide}.json` of images and predictions.
    metrics_folder : Path
        Slides with scores of the same fingerprint there are not scored again.
    manifest : Path
        Written last: the fingerprints of all scored slides.
    polarity : {"auto", "bright", "dark"}
        Class of the Otsu baseline that is taken as cells.
    """
    labelled = {
        slide: slides_folder / f"{slide}.json"
        for slide in slides
        if read_manifest(slides_folder / f"{slide}.json")["n_objects"] is not None
    }

    def do(slide: str, manifest: Path) -> bool:
        name = f"{slide}.json"
        return score_once(slide, manifest, predictions_folder / name, metrics_folder / name, polarity)

    each_slide(labelled, do)
    finish_batch(manifest, metrics_folder, labelled)


def score_once(slide: str, image: Path, prediction: Path, target: Path, polarity: Polarity) -> bool:
    """Write the scores of one slide unless they are current; return whether they were written."""
    digest = score_fingerprint(read_manifest(image), read_manifest(prediction), polarity)
    if is_current(target, digest):
        return False
    folder = target.with_name(f".{slide}.overlaps")
    shutil.rmtree(folder, ignore_errors=True)  # files of an interrupted run
    truth = open_label_store(image, "truth")
    n_blocks = len(BlockGrid(truth.shape))
    score, examples = score_slide(
        open_slide_image(image),
        truth,
        open_image_store(prediction),
        open_label_store(prediction, "cells"),
        threshold=read_manifest(prediction)["cells"]["threshold"],
        polarity=polarity,
        regroup=in_memory if n_blocks == 1 else on_disk(folder, n_blocks),
    )
    shutil.rmtree(folder, ignore_errors=True)
    facts = {"slide": slide, "fingerprint": digest, "metrics_version": METRICS_VERSION, **score.to_json()}
    write_manifest(target, facts | {"examples": [asdict(example) for example in examples]})
    return True


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            slides=read_batch(Path(snakemake.input.cells)),
            slides_folder=Path(snakemake.params.slides_folder),
            predictions_folder=Path(snakemake.params.predictions_folder),
            metrics_folder=Path(snakemake.params.metrics_folder),
            manifest=Path(snakemake.output.manifest),
        )
