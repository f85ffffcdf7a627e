"""Score the model of every seed by itself, and their mean, on validation and test slides."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from slideunet.logs import log_to
from slideunet.network.training.seeds import score_model
from slideunet.stores.files import write_atomically


def main(
    *,
    split_table: Path,
    slides_folder: Path,
    seeds: Sequence[int],
    models: Sequence[Path],
    joined: Path,
    scores: Path,
    threads: int,
) -> None:
    """Write a table with a row per seed and side of the split; the row of all together has no seed.

    The test slides are only counted here: nothing is chosen by them.
    """
    torch.set_num_threads(threads)
    table = pd.read_csv(split_table, sep="\t", dtype=str, keep_default_na=False)
    rows = [
        {"seed": seed, "split": side} | score_model(model, slides, slides_folder)
        for side in ("val", "test")
        if (slides := list(table.loc[table["split"] == side, "slide"]))
        for seed, model in zip([*seeds, ""], [*models, joined], strict=True)
    ]
    write_atomically(scores, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            split_table=Path(snakemake.input.split),
            slides_folder=Path(snakemake.params.slides_folder),
            seeds=snakemake.params.seeds,
            models=[Path(path).parent for path in snakemake.input.models],
            joined=Path(snakemake.input.joined).parent,
            scores=Path(snakemake.output.scores),
            threads=snakemake.threads,
        )
