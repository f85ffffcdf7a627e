"""Join the models of several seeds into one, the mean of what they say."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from slideunet.logs import log_to
from slideunet.network.training.seeds import join_models


def main(
    *, split_table: Path, slides_folder: Path, models: Sequence[Path], folder: Path, threads: int
) -> None:
    """Write model.safetensors + model.json, history.csv, curves.png and patches.png into a folder."""
    torch.set_num_threads(threads)
    table = pd.read_csv(split_table, sep="\t", dtype=str, keep_default_na=False)
    join_models(models, list(table.loc[table["split"] == "val", "slide"]), slides_folder, folder)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            split_table=Path(snakemake.input.split),
            slides_folder=Path(snakemake.params.slides_folder),
            models=[Path(path).parent for path in snakemake.input.models],
            folder=Path(snakemake.output.facts).parent,
            threads=snakemake.threads,
        )
