"""Join the models of several seeds into one that predicts their mean; the model of one seed is copied."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from slideunet.logs import log_to


def main(
    *, split_table: Path, slides_folder: Path, models: Sequence[Path], outputs: Sequence[Path], threads: int
) -> None:
    """Write model.safetensors + model.json, history.csv, curves.png and patches.png into a folder.

    Parameters
    ----------
    split_table : Path
        Names the validation slides, on which threshold and post-processing of the mean are tuned.
    slides_folder : Path
        Folder of the manifests of the slides.
    models : sequence of Path
        The model folder of every seed.
    outputs : sequence of Path
        The five files, in one folder.
    threads : int
    """
    if len(models) == 1:
        for path in outputs:
            shutil.copyfile(models[0] / path.name, path)
        return
    import torch

    from slideunet.network.training.seeds import join_models

    torch.set_num_threads(threads)
    table = pd.read_csv(split_table, sep="\t", dtype=str, keep_default_na=False)
    join_models(models, list(table.loc[table["split"] == "val", "slide"]), slides_folder, outputs[0].parent)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            split_table=Path(snakemake.input.split),
            slides_folder=Path(snakemake.params.slides_folder),
            models=[Path(path).parent for path in snakemake.input.models],
            outputs=[Path(path) for path in snakemake.output],
            threads=snakemake.threads,
        )
