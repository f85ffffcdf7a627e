"""From a split and the configuration to a model folder: build, train, tune the threshold, describe."""

import logging
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from slideunet import __version__
from slideunet.errors import InputError
from slideunet.figures.contact_sheet import contact_sheet_png
from slideunet.figures.curves import learning_curves_png
from slideunet.model_json import learned_contents, read_model_facts
from slideunet.network.architecture.encoder_weights import load_encoder_weights
from slideunet.network.architecture.model_folder import save_model
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import PRESETS, UNet, UNetSpec
from slideunet.network.inference.device import best_device
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.network.patches.dataset import LabelledSlide
from slideunet.network.training.checkpoint import Progress
from slideunet.network.training.diameters import diameters
from slideunet.network.training.fine_tuning import start_from
from slideunet.network.training.loop import TrainingPlan, fit, training_patches
from slideunet.network.training.several_gpus import Ranks, check_gpus, several
from slideunet.network.training.step import quicker_precision
from slideunet.network.training.tune_cells import compare_methods
from slideunet.slides.normalisation import normalisation
from slideunet.stores.files import write_atomically
from slideunet.stores.manifests import read_manifest

Section = Mapping[str, Any]


def train_model(
    slides: Mapping[str, list[str]],
    images: Path,
    *,
    model: Section,
    data: Section,
    training: Section,
    folder: Path,
    threads: int,
    initial: Path | None = None,
    strata: Mapping[str, str] | None = None,
) -> None:
    """Train a model and write model.safetensors, model.json, history.csv, curves.png and patches.png.

    Parameters
    ----------
    slides : mapping
        "train" and "val" to slide ids.
    images : Path
        Folder with the manifests of the slides.
    model, data, training : mappings
        These sections of the configuration.
    folder : Path
        Where the results go; an unfinished training is kept there as `progress.pt` and gone on with.
    threads : int
        Of torch. The last bits of the weights depend on it, so it is recorded.
    initial : Path, optional
        Folder of a model to begin with.
    strata : mapping, optional
        Slide ids to their strata, for `training.balance`.
    """
    check_gpus(training["gpus"])
    manifests = {
        side: [read_manifest(images / f"{slide}.json") for slide in ids] for side, ids in slides.items()
    }
    spec = build_spec(model, channels=len(manifests["train"][0]["channels"]))
    torch.set_num_threads(threads)
    plan = _plan(training, spec)
    sides = {side: labelled_slides(found, images, data, strata) for side, found in manifests.items()}
    logging.info(_introduction(spec, plan, sides, threads))
    known_diameters, _ = (diameters(sides[side]) for side in ("train", "val"))
    write_atomically(folder / "patches.png", _contact_sheet(sides["train"], plan, spec, folder / "packed"))
    task = (spec, plan, sides, model["encoder_weights"], initial, folder, threads // plan.gpus)
    with several(plan.gpus, _fit, *task) as ranks:
        network, progress = _fit(ranks, *task)
    history = pd.DataFrame(progress.history)
    write_atomically(folder / "history.csv", history.to_csv(index=False))
    write_atomically(folder / "curves.png", learning_curves_png(history, progress.best_epoch))
    facts = _facts(spec, data, manifests["train"]) | {
        "threshold": progress.best_threshold,
        "precision": progress.precision,
        "diameter": known_diameters,
    }
    network.load_state_dict(progress.best)
    engine = TorchEngine(network, progress.precision, best_device(), facts["halo"])
    facts["decodings"] = compare_methods(engine, sides["val"], progress.best_threshold)
    facts["training"] = _description(manifests, plan, progress, threads)
    if initial is not None:
        facts["training"] |= _inherited(initial, facts["training"]["contents"])
    save_model(folder, progress.best, facts)
    (folder / "progress.pt").unlink()
    shutil.rmtree(folder / "packed", ignore_errors=True)


def _fit(
    ranks: Ranks,
    spec: UNetSpec,
    plan: TrainingPlan,
    sides: Mapping[str, Sequence[LabelledSlide]],
    encoder_weights: str,
    initial: Path | None,
    folder: Path,
    threads: int,
) -> tuple[UNet, Progress]:
    """Build a network and train it: what each process of a training does."""
    torch.set_num_threads(max(threads, 1))
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(plan.seed)
    network = UNet(spec)
    _initialise(network, encoder_weights, initial)
    network.to(best_device())
    state = folder / "progress.pt"
    return network, fit(network, sides["train"], sides["val"], plan, state, _workers(threads), ranks)


def _initialise(network: UNet, encoder_weights: str, initial: Path | None) -> None:
    """Give a network the weights to begin with, as far as they are not random."""
    name = network.spec.encoder
    if initial is not None:
        start_from(network, initial)
        logging.info(f"The training begins with the weights of {initial}")
    elif name is not None and encoder_weights != "random":
        load_encoder_weights(network.encoder, name, encoder_weights)
        logging.info(f"The encoder {name} begins with the weights of {encoder_weights}")


def _contact_sheet(train: Sequence[LabelledSlide], plan: TrainingPlan, spec: UNetSpec, packed: Path) -> bytes:
    """Draw patches of the first epoch as the network will see them, evenly from all slides."""
    patches = training_patches(train, plan, spec.maps, packed)
    shown = (patches[0, i] for i in range(0, len(patches), -(-len(patches) // 24)))
    return contact_sheet_png([(image.numpy(), target.numpy()) for image, target in shown])


def _inherited(initial: Path, contents: Sequence[str]) -> dict[str, Any]:
    """Return what a fine-tuned model owes to the one it began with, above all what that had seen."""
    seen = sorted({*contents, *learned_contents(initial)})
    return {"contents": seen, "init_from": read_model_facts(initial)["sha256"]}


def _facts(spec: UNetSpec, data: Section, train: Sequence[Section]) -> dict[str, Any]:
    """Return what it takes to use the weights, besides threshold and precision."""
    return {
        "architecture": spec.as_dict(),
        "normalisation": data["normalisation"],
        "background": data["background"],
        "channels": train[0]["channels"],
        "mpp": _common_mpp(train),
        "halo": halo(spec),
        "versions": {
            "slideunet": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def build_spec(model: Section, channels: int) -> UNetSpec:
    """Return the architecture that the `model` section of the configuration asks for.

    Values that are None are taken from the preset.
    """
    own = {name: model[name] for name in ("width", "depth", "decoder", "dropout") if model[name] is not None}
    chosen = PRESETS[model["preset"]] | own
    return UNetSpec(channels=channels, heads=model["heads"], encoder=model["encoder"], **chosen)


def _plan(training: Section, spec: UNetSpec) -> TrainingPlan:
    precision = training["precision"]
    if precision == "auto":
        precision = quicker_precision(spec, training["patch_size"], training["batch_size"])
    own = {name: value for name, value in training.items() if name in TrainingPlan.__dataclass_fields__}
    return TrainingPlan(**(own | {"seed": training["seeds"][0], "precision": precision}))


def labelled_slides(
    manifests: Sequence[Section], images: Path, data: Section, strata: Mapping[str, str] | None = None
) -> list[LabelledSlide]:
    """Return slides as training and validation need them, given their manifests and the folder of these."""
    return [
        LabelledSlide(
            images / f"{found['slide']}.json",
            tuple(found["shape"][1:]),
            normalisation(found["statistics"], data["normalisation"], data["background"]),
            (strata or {}).get(found["slide"], ""),
        )
        for found in manifests
    ]


def _workers(threads: int) -> int:
    """One process prepares patches for every four threads of training; with two it would only compete."""
    return min(8, threads // 4)


def _common_mpp(manifests: Sequence[Section]) -> float | None:
    known = sorted(found["mpp"] for found in manifests if found["mpp"] is not None)
    return known[len(known) // 2] if known else None


def _introduction(
    spec: UNetSpec, plan: TrainingPlan, sides: Mapping[str, Sequence[Any]], threads: int
) -> str:
    if not sides["val"]:
        raise InputError(
            "There is no validation slide, so no epoch could be chosen. Raise split.val or add slides."
        )
    parameters = sum(parameter.numel() for parameter in UNet(spec).parameters())
    return (
        f"U-Net of {parameters / 1e6:.2f} million parameters (width {spec.width}, depth {spec.depth}, "
        f"encoder {spec.encoder or 'its own'}, halo {halo(spec)} px); {len(sides['train'])} training and "
        f"{len(sides['val'])} validation slides, {plan.epochs} epochs, {threads} threads"
    )


def _description(
    manifests: Mapping[str, Sequence[Section]],
    plan: TrainingPlan,
    progress: Progress,
    threads: int,
) -> dict[str, Any]:
    return {
        "slides": {side: [found["slide"] for found in ones] for side, ones in manifests.items()},
        "contents": sorted(found["content"] for ones in manifests.values() for found in ones),
        "seed": plan.seed,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "val_dice": progress.best_dice,
        "val_ap": progress.history[progress.best_epoch - 1]["val_ap"],
        "seconds": round(sum(row["seconds"] + row["validation_seconds"] for row in progress.history), 1),
        "threads": threads,
        "gpus": plan.gpus,
        "loss": plan.loss,
        "learning_rate": plan.learning_rate,
        "batch_size": plan.batch_size,
        "patch_size": plan.patch_size,
    }
