"""Split the slides into training, validation, test and prediction only, by group."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from slideunet.batch import read_batch
from slideunet.inputs.seen_slides import mark_seen
from slideunet.inputs.split import split_groups
from slideunet.logs import log_to
from slideunet.model_json import learned_contents
from slideunet.stores.files import write_atomically
from slideunet.stores.manifests import read_manifest


def main(
    *,
    rows: Sequence[Mapping[str, str]],
    slides: Sequence[str],
    slides_folder: Path,
    val: float,
    test: float,
    seed: int,
    model: Path | None,
    initial: Path | None,
    split_table: Path,
) -> None:
    """Write the table of the split.

    Parameters
    ----------
    rows : sequence of mapping
        slide, group, stratum, split and labels of every slide.
    slides : sequence of str
        The converted slides; others are not in the split.
    slides_folder : Path
        Folder of their manifests.
    val, test : float
        Fractions of the labelled slides.
    seed : int
    model : Path or None
        Folder of a pretrained model that is applied without training: labelled slides are then test slides,
        except those that it was trained or validated on.
    initial : Path or None
        Folder of the model that is fine-tuned; slides that it was trained or validated on are not test slides
        either.
    split_table : Path
        Output with the columns slide, group, stratum, split, n_objects, content.
    """
    manifests = [read_manifest(slides_folder / f"{slide}.json") for slide in slides]
    facts = pd.DataFrame(manifests)[["slide", "n_objects", "content"]]
    facts["n_objects"] = facts["n_objects"].astype("Int64")
    table = pd.DataFrame(rows).merge(facts, on="slide", validate="one_to_one")
    table["labelled"] = table["labels"] != ""
    if (pretrained := model or initial) is not None:
        table = mark_seen(table, learned_contents(pretrained))
    split = split_groups(table, val=val, test=test, seed=seed, training=model is None)
    for name, count in split["split"].value_counts().items():
        logging.info(f"{name}: {count} slides")
    write_atomically(split_table, split.to_csv(sep="\t", index=False))


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            rows=snakemake.params.rows,
            slides=[slide for batch in snakemake.input.batches for slide in read_batch(Path(batch))],
            slides_folder=Path(snakemake.params.slides_folder),
            val=snakemake.params.val,
            test=snakemake.params.test,
            seed=snakemake.params.seed,
            model=snakemake.params.model and Path(snakemake.params.model),
            initial=snakemake.params.initial and Path(snakemake.params.initial),
            split_table=Path(snakemake.output.table),
        )
