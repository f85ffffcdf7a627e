"""Split the slides into training, validation, test and prediction, by group."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from slideunet.batch import read_batch
from slideunet.errors import InputError
from slideunet.inputs.equal_slides import (
    SlideContent,
    cells_digest,
    equal_problems,
    equal_warnings,
    is_blank,
)
from slideunet.inputs.seen_slides import mark_seen
from slideunet.inputs.sheet import load_sheet
from slideunet.inputs.split import split_groups
from slideunet.logs import log_to
from slideunet.model_json import learned_contents
from slideunet.stores.files import write_atomically
from slideunet.stores.manifests import read_manifest


def main(
    *,
    sheet: Path,
    slides: Sequence[str],
    slides_folder: Path,
    val: float,
    test: float,
    seed: int,
    training: bool,
    learned: Path | None,
    split_table: Path,
) -> None:
    """Write the table of the split.

    Parameters
    ----------
    sheet : Path
        The sample sheet that check_inputs has written.
    slides : sequence of str
        The converted slides; others are not in the split.
    slides_folder : Path
        Folder of their manifests.
    val, test : float
        Fractions of the labelled slides.
    seed : int
    training : bool
        Whether a model is trained. Otherwise labelled slides are test slides, except for those that the model
        in use was trained on.
    learned : Path or None
        Folder of the model that is used instead of training one, or that the training starts from: a slide
        that it was trained on is no test slide.
    split_table : Path
        Output with the columns slide, group, stratum, split, n_objects, content.

    Raises
    ------
    InputError
        As `split_groups`, and for equal pixels in different splits or under different ground truth.
    """
    manifests = [read_manifest(slides_folder / f"{slide}.json") for slide in slides]
    facts = pd.DataFrame(manifests)[["slide", "n_objects", "content"]]
    facts["n_objects"] = facts["n_objects"].astype("Int64")
    rows = load_sheet(sheet)[["slide", "group", "stratum", "split", "labels"]]
    cohort = rows.merge(facts, on="slide", validate="one_to_one")
    cohort["labelled"] = cohort["labels"] != ""
    if learned is not None:
        cohort = mark_seen(cohort, learned_contents(learned))
    split = split_groups(cohort, val=val, test=test, seed=seed, training=training)
    contents = _repeated(split, dict(zip(rows["slide"], rows["labels"], strict=True)), slides_folder)
    if problems := equal_problems(contents):
        raise InputError(text for _, text in problems)
    for slide, warning in equal_warnings(contents):
        logging.warning(f"slide {slide}: {warning}")
    for name, count in split["split"].value_counts().items():
        logging.info(f"{name}: {count} slides")
    write_atomically(split_table, split.to_csv(sep="\t", index=False))


def _repeated(split: pd.DataFrame, labels: Mapping[str, str], folder: Path) -> list[SlideContent]:
    """Return the contents of all slides whose pixels another one has, too; only their ground truth is read.

    check_inputs has compared them unless they have more than 64 Mpx or are equal at the working resolution
    only.
    """
    repeated = split[split["content"].duplicated(keep=False)]
    return [
        _content(folder / f"{slide}.json", name, labels[slide])
        for slide, name in zip(repeated["slide"], repeated["split"], strict=True)
    ]


def _content(manifest: Path, split: str, labels: str) -> SlideContent:
    facts = read_manifest(manifest)
    return SlideContent(
        slide=facts["slide"],
        content=facts["content"],
        split=split,
        blank=is_blank(facts["statistics"]),
        labels=labels,
        truth=_truth_of(manifest) if labels else "",
        n_cells=facts["n_objects"],
    )


def _truth_of(manifest: Path) -> str:
    # Loads zarr, which few cohorts need here.
    from slideunet.stores.verified import open_label_store

    return cells_digest(open_label_store(manifest, "truth"))


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            sheet=Path(snakemake.input.sheet),
            slides=[slide for batch in snakemake.input.batches for slide in read_batch(Path(batch))],
            slides_folder=Path(snakemake.params.slides_folder),
            val=snakemake.params.val,
            test=snakemake.params.test,
            seed=snakemake.params.seed,
            training=snakemake.params.training,
            learned=Path(snakemake.input.learned[0]).parent if snakemake.input.learned else None,
            split_table=Path(snakemake.output.table),
        )
