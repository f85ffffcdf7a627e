"""The training job: build a network, train it, tune threshold and separation, write the model folder."""

import importlib.util
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
from slideunet.slides.slide_image import open_slide_image
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
        Sections of the configuration.
    folder : Path
        For the results; an interrupted training is kept there as `progress.pt` and resumed.
    threads : int
        Threads of torch. The last bits of the weights depend on them, so the model has their number.
    initial : Path, optional
        Folder of a model to fine-tune.
    strata : mapping, optional
        Slide ids to their strata, for `training.balance`.
    """
    check_gpus(training["gpus"])
    manifests = {
        split: [read_manifest(images / f"{slide}.json") for slide in ids] for split, ids in slides.items()
    }
    spec = build_spec(model, channels=len(manifests["train"][0]["channels"]))
    torch.set_num_threads(threads)
    plan = _plan(training, spec)
    labelled = {split: labelled_slides(facts, images, data, strata) for split, facts in manifests.items()}
    logging.info(_introduction(spec, plan, labelled, threads))
    diameter = diameters(labelled["train"])
    diameters(labelled["val"])  # Raises InputError when there are no cells.
    write_atomically(folder / "patches.png", _contact_sheet(labelled["train"], plan, spec, folder / "packed"))
    task = (spec, plan, labelled, model["encoder_weights"], initial, folder, threads // plan.gpus)
    with several(plan.gpus, _fit, *task) as ranks:
        network, progress = _fit(ranks, *task)
    history = pd.DataFrame(progress.history)
    write_atomically(folder / "history.csv", history.to_csv(index=False))
    write_atomically(folder / "curves.png", learning_curves_png(history, progress.best_epoch))
    facts = _facts(spec, data, manifests["train"]) | {
        "threshold": progress.best_threshold,
        "precision": progress.precision,
        "diameter": diameter,
    }
    network.load_state_dict(progress.best)
    engine = TorchEngine(network, progress.precision, best_device(), facts["halo"])
    facts["decodings"] = compare_methods(engine, labelled["val"], progress.best_threshold)
    facts |= _calibrated(network, facts["halo"], labelled["train"])
    facts["training"] = _description(manifests, plan, progress, threads)
    if initial is not None:
        facts["training"] |= _inherited(initial, facts["training"]["contents"])
    save_model(folder, progress.best, facts)
    (folder / "progress.pt").unlink()
    shutil.rmtree(folder / "packed", ignore_errors=True)


def _calibrated(network: UNet, halo: int, slides: Sequence[LabelledSlide]) -> dict[str, Any]:
    """Return the ranges for int8 as the field "int8"; nothing where they cannot be measured."""
    missing = [name for name in ("nncf", "openvino") if importlib.util.find_spec(name) is None]
    if missing:
        logging.info(f"The model is not calibrated for int8: {' and '.join(missing)} not installed")
        return {}
    from slideunet.network.inference.calibration import calibrate

    images = [(open_slide_image(slide.manifest), slide.normalisation) for slide in slides]
    try:
        return {"int8": calibrate(network, halo, images)}
    except InputError as error:
        logging.info(f"The model is not calibrated for int8. {error}")
        return {}


def _fit(
    ranks: Ranks,
    spec: UNetSpec,
    plan: TrainingPlan,
    slides: Mapping[str, Sequence[LabelledSlide]],
    encoder_weights: str,
    initial: Path | None,
    folder: Path,
    threads: int,
) -> tuple[UNet, Progress]:
    """Build a network and train it, in each process of a training."""
    torch.set_num_threads(max(threads, 1))
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(plan.seed)
    network = UNet(spec)
    _initialise(network, encoder_weights, initial)
    network.to(best_device())
    state = folder / "progress.pt"
    return network, fit(network, slides["train"], slides["val"], plan, state, _workers(threads), ranks)


def _initialise(network: UNet, encoder_weights: str, initial: Path | None) -> None:
    """Load the initial weights of a network, if they are not random."""
    name = network.spec.encoder
    if initial is not None:
        start_from(network, initial)
        logging.info(f"Fine-tuning: the training starts with the weights of {initial}")
    elif name is not None and encoder_weights != "random":
        load_encoder_weights(network.encoder, name, encoder_weights)
        logging.info(f"Transfer learning: the encoder {name} starts with the weights of {encoder_weights}")


def _contact_sheet(train: Sequence[LabelledSlide], plan: TrainingPlan, spec: UNetSpec, packed: Path) -> bytes:
    """Draw augmented patches of the first epoch, evenly from all slides."""
    patches = training_patches(train, plan, spec.maps, packed)
    shown = (patches[0, i] for i in range(0, len(patches), -(-len(patches) // 24)))
    return contact_sheet_png([(image.numpy(), target.numpy()) for image, target in shown])


def _inherited(initial: Path, contents: Sequence[str]) -> dict[str, Any]:
    """Return the source of a fine-tuned model and the training slides of both."""
    seen = sorted({*contents, *learned_contents(initial)})
    return {"contents": seen, "init_from": read_model_facts(initial)["sha256"]}


def _facts(spec: UNetSpec, data: Section, train: Sequence[Section]) -> dict[str, Any]:
    """Return the description that prediction needs, besides threshold and precision."""
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
    """Return the architecture for the `model` section of the configuration.

    Values that are None are taken from the preset.
    """
    given = {
        name: model[name] for name in ("width", "depth", "decoder", "dropout") if model[name] is not None
    }
    values = PRESETS[model["preset"]] | given
    return UNetSpec(channels=channels, heads=model["heads"], encoder=model["encoder"], **values)


def _plan(training: Section, spec: UNetSpec) -> TrainingPlan:
    precision = training["precision"]
    if precision == "auto":
        at_once = training["micro_batch_size"] or training["batch_size"]
        precision = quicker_precision(spec, training["patch_size"], at_once)
    options = {name: value for name, value in training.items() if name in TrainingPlan.__dataclass_fields__}
    return TrainingPlan(**(options | {"seed": training["seeds"][0], "precision": precision}))


def labelled_slides(
    manifests: Sequence[Section], images: Path, data: Section, strata: Mapping[str, str] | None = None
) -> list[LabelledSlide]:
    """Return the slides of training or validation, by the contents of their manifests."""
    return [
        LabelledSlide(
            images / f"{facts['slide']}.json",
            tuple(facts["shape"][1:]),
            normalisation(facts["statistics"], data["normalisation"], data["background"]),
            (strata or {}).get(facts["slide"], ""),
        )
        for facts in manifests
    ]


def _workers(threads: int) -> int:
    """Return one process for patches per four threads of training; with fewer threads it would compete."""
    return min(8, threads // 4)


def _common_mpp(manifests: Sequence[Section]) -> float | None:
    sizes = sorted(facts["mpp"] for facts in manifests if facts["mpp"] is not None)
    return sizes[len(sizes) // 2] if sizes else None


def _introduction(
    spec: UNetSpec, plan: TrainingPlan, slides: Mapping[str, Sequence[Any]], threads: int
) -> str:
    if not slides["val"]:
        raise InputError(
            "There is no validation slide, so no epoch can be selected. Raise split.val or add slides."
        )
    parameters = sum(parameter.numel() for parameter in UNet(spec).parameters())
    return (
        f"U-Net of {parameters / 1e6:.2f} million parameters (width {spec.width}, depth {spec.depth}, "
        f"encoder {spec.encoder or 'its own'}, halo {halo(spec)} px); {len(slides['train'])} training and "
        f"{len(slides['val'])} validation slides, {plan.epochs} epochs, {threads} threads"
    )


def _description(
    manifests: Mapping[str, Sequence[Section]],
    plan: TrainingPlan,
    progress: Progress,
    threads: int,
) -> dict[str, Any]:
    return {
        "slides": {split: [facts["slide"] for facts in group] for split, group in manifests.items()},
        "contents": sorted(facts["content"] for group in manifests.values() for facts in group),
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
