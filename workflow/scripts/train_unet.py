"""Train the U-Net on the training slides; epoch and threshold are chosen on the validation slides."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from slideunet.logs import log_to
from slideunet.model_json import encoder_source, read_model_facts, training_fingerprint
from slideunet.stores.manifests import is_current


def main(
    *,
    split_table: Path,
    slides_folder: Path,
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    training: Mapping[str, Any],
    initial: Path | None,
    states: Path,
    facts: Path,
    weights: Path,
    history: Path,
    curves: Path,
    patches: Path,
    threads: int,
) -> None:
    """Write model.safetensors + model.json, history.csv, curves.png and patches.png.

    A finished training with the same slides and choices is taken from its state; an unfinished one goes on.
    `initial` is the folder of a model to begin with, `states` that of all trainings of this run.
    """
    table = pd.read_csv(split_table, sep="\t", dtype=str, keep_default_na=False)
    slides = {side: list(table.loc[table["split"] == side, "slide"]) for side in ("train", "val")}
    # What the training depends on are the weights, not where they lie.
    training = dict(training) | {"init_from": initial and read_model_facts(initial)["sha256"]}
    choices = dict(model) | {"encoder_weights": encoder_source(model)}
    # Strata count only where slides are drawn by them.
    strata = dict(zip(table["slide"], table["stratum"], strict=True)) if training["balance"] else {}
    drawn = training | {"strata": [strata.get(slide) for slide in slides["train"]]}
    known = training_fingerprint(slides, slides_folder, choices, data, drawn)
    state = states / known[:16]
    outputs = (history, curves, patches, weights, facts)
    finished = [state / path.name for path in outputs]
    if is_current(state, known[:16], lambda folder: folder.name, beside=finished):
        logging.info(f"This training is finished already: {state}")
    else:
        # Importing torch and MONAI and timing the precisions takes a while.
        logging.info("Preparing the training: loading the libraries, choosing the precision")
        from slideunet.network.training.train import train_model

        train_model(
            slides,
            slides_folder,
            model=model,
            data=data,
            training=training,
            initial=initial,
            folder=state,
            threads=threads,
            strata=strata,
        )
    for source, target in zip(finished, outputs, strict=True):
        shutil.copyfile(source, target)


if __name__ == "__main__":
    with log_to(snakemake.log[0]):
        main(
            split_table=Path(snakemake.input.split),
            slides_folder=Path(snakemake.params.slides_folder),
            model=snakemake.params.model,
            data=snakemake.params.data,
            training=snakemake.params.training,
            initial=Path(snakemake.input.initial[0]).parent if snakemake.input.initial else None,
            states=Path(snakemake.params.states),
            facts=Path(snakemake.output.facts),
            weights=Path(snakemake.output.weights),
            history=Path(snakemake.output.history),
            curves=Path(snakemake.output.curves),
            patches=Path(snakemake.output.patches),
            threads=snakemake.threads,
        )
