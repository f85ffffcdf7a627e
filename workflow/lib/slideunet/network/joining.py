"""From the trainings of several seeds to one model."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from slideunet.images.stores import write_atomically
from slideunet.network.decodings import compare_methods
from slideunet.network.ensemble import Ensemble
from slideunet.network.inference import best_device
from slideunet.network.losses import build_loss
from slideunet.network.spread import open_slides
from slideunet.network.torch_engine import TorchEngine
from slideunet.network.validation import validate
from slideunet.network.weights import load_model, save_model
from slideunet.report.figures import learning_curves_png

Facts = Mapping[str, Any]


def join_models(seeds: Sequence[Path], slides: Sequence[str], images: Path, folder: Path) -> None:
    """Write the ensemble of several models: their mean, with a threshold and a decoding of its own.

    Parameters
    ----------
    seeds : sequence of Path
        Model folders of one architecture, trained on the same slides.
    slides : sequence of str
        The validation slides.
    images : Path
        Folder with the manifests of the slides.
    folder : Path
        Gets model.safetensors, model.json, history.csv (with a column `seed`), curves.png and patches.png.
    """
    loaded = [load_model(seed) for seed in seeds]
    facts = [facts for _, facts in loaded]
    network = Ensemble([network for network, _ in loaded]).to(best_device())
    val = open_slides(slides, images, facts[0])
    validation = validate(network, val, build_loss("bce"), facts[0]["precision"])
    threshold = validation.best_threshold()
    engine = TorchEngine(network, facts[0]["precision"], best_device())
    _join_records(seeds, facts, folder)
    own = {
        "architecture": network.spec.as_dict(),
        "threshold": threshold,
        "decodings": compare_methods(engine, val, threshold),
        "training": _training(facts) | {"val_dice": validation.dice_at(threshold)},
    }
    save_model(folder, network.state_dict(), facts[0] | own)


def _join_records(seeds: Sequence[Path], facts: Sequence[Facts], folder: Path) -> None:
    """Write what the trainings left behind besides their weights."""
    histories = [
        pd.read_csv(seed / "history.csv").assign(seed=one["training"]["seed"])
        for seed, one in zip(seeds, facts, strict=True)
    ]
    history = pd.concat(histories)
    write_atomically(folder / "history.csv", history.to_csv(index=False))
    write_atomically(folder / "curves.png", learning_curves_png(history, None))
    shutil.copyfile(seeds[0] / "patches.png", folder / "patches.png")


def _training(facts: Sequence[Facts]) -> dict[str, Any]:
    """Sum up the trainings of several seeds."""
    trainings = [one["training"] for one in facts]
    members = [
        {"sha256": one["sha256"]}
        | {name: one["training"][name] for name in ("seed", "best_epoch", "val_dice", "val_ap", "seconds")}
        for one in facts
    ]
    same = {
        name: value
        for name, value in trainings[0].items()
        if all(training.get(name) == value for training in trainings)
    }
    return same | {"members": members, "seconds": round(sum(one["seconds"] for one in members), 1)}
