"""Several seeds: the mean of their networks as one model, and how far apart their scores are."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slideunet.cells.separation.decoding import decoding_for
from slideunet.cells.separation.separate import foreground_cut
from slideunet.figures.curves import learning_curves_png
from slideunet.model_json import int8_facts, int8_ranges
from slideunet.network.architecture.ensemble import Ensemble
from slideunet.network.architecture.model_folder import load_model, save_model
from slideunet.network.inference.device import best_device
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.network.patches.dataset import LabelledSlide
from slideunet.network.training.losses import build_loss
from slideunet.network.training.train import labelled_slides
from slideunet.network.training.tune_cells import compare_methods, middle_block, score
from slideunet.network.training.validation import validate
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.stores.files import write_atomically
from slideunet.stores.manifests import read_manifest
from slideunet.truth.ignore_label import foreground_and_valid


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
    engine = TorchEngine(network, facts[0]["precision"], best_device(), facts[0]["halo"])
    _join_records(seeds, facts, folder)
    own = {
        "architecture": network.spec.as_dict(),
        "threshold": threshold,
        "decodings": compare_methods(engine, val, threshold),
        "training": _training(facts) | {"val_dice": validation.dice_at(threshold)},
    }
    shared = {name: value for name, value in facts[0].items() if name != "int8"}
    save_model(folder, network.state_dict(), shared | own | _joined_ranges(facts))


def _joined_ranges(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the field "int8" of an ensemble, if all its members were calibrated."""
    if not all("int8" in one for one in facts):
        return {}
    ranges = {
        f"members.{number}.{name}": span
        for number, one in enumerate(facts)
        for name, span in int8_ranges(one).items()
    }
    return {"int8": int8_facts(ranges)}


def _join_records(seeds: Sequence[Path], facts: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write what the trainings left behind besides their weights."""
    histories = [
        pd.read_csv(seed / "history.csv").assign(seed=one["training"]["seed"])
        for seed, one in zip(seeds, facts, strict=True)
    ]
    history = pd.concat(histories)
    write_atomically(folder / "history.csv", history.to_csv(index=False))
    write_atomically(folder / "curves.png", learning_curves_png(history, None))
    shutil.copyfile(seeds[0] / "patches.png", folder / "patches.png")


def _training(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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


def open_slides(slides: Sequence[str], images: Path, facts: Mapping[str, Any]) -> list[LabelledSlide]:
    """Return labelled slides as a model sees them, given its `model.json`."""
    manifests = [read_manifest(images / f"{slide}.json") for slide in slides]
    return labelled_slides(manifests, images, facts)


def score_model(folder: Path, slides: Sequence[str], images: Path) -> dict[str, float]:
    """Score a model on labelled slides with its own threshold and decoding.

    Parameters
    ----------
    folder : Path
        Of the model.
    slides : sequence of str
    images : Path
        Folder with the manifests of the slides.

    Returns
    -------
    dict
        "dice", "ap50" and "map" of all slides together; of a slide of several blocks, of its middle one.
    """
    network, facts = load_model(folder)
    engine = TorchEngine(network, facts["precision"], best_device(), facts["halo"])
    decoding = decoding_for(facts)
    cells, pixels = InstanceCounts(), np.zeros(3, np.int64)
    for slide in open_slides(slides, images, facts):
        truth, maps = middle_block(engine, slide)
        cells += score(truth, maps, decoding)
        true, valid = foreground_and_valid(truth)
        found = (maps["foreground"] >= foreground_cut(decoding.threshold)) & valid
        pixels += [np.sum(found & true), np.sum(found), np.sum(true)]
    both, either = int(pixels[0]), int(pixels[1] + pixels[2])
    return {"dice": 2 * both / max(either, 1), "ap50": cells.ap[0], "map": cells.mean_ap}
