"""Facts of a model that can be read without importing torch, which takes seconds."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from slideunet.errors import DamagedDataError, InputError
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.manifests import read_manifest

# int8: the quantised layers in 8-bit integers, the others in float32; int8-bf16: the others in bf16.
Precision = Literal["fp32", "bf16", "int8", "int8-bf16"]
Ranges = Mapping[str, tuple[float, float]]
EngineName = Literal["openvino", "torch"]
Head = Literal["distance", "centres"]
FORMAT = 3  # Raise when training changes, so that old models are trained again.

# Output heads besides the foreground, and their maps; see `network.patches.targets`.
HEADS: dict[Head, tuple[str, ...]] = {"distance": ("distance",), "centres": ("centre", "dy", "dx")}

OFFSET_ZERO = 128  # Byte for an offset of zero in the maps dy and dx.

# Values of `model.encoder_weights` that are not files.
ENCODER_SOURCES = ("imagenet", "random")

_REQUIRED = ("architecture", "normalisation", "background", "halo", "threshold", "precision", "sha256")


def read_model_facts(folder: Path) -> dict[str, Any]:
    """Read `model.json` of a model folder.

    Raises
    ------
    InputError
        If it is missing, unreadable or incomplete.
    """
    path = folder / "model.json"
    if folder.is_file():
        raise InputError(
            f"model.weights: {folder} is a file. A model is a folder with model.safetensors and model.json; "
            "pickled weights (.pt, .pth) can run code and are not loaded. Set a folder such as results/model."
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"model.weights: there is no {path}. Set a folder such as results/model.") from error
    except ValueError as error:
        raise InputError(f"model.weights: {path} is not readable ({error}). Copy the model again.") from error
    missing = _REQUIRED if not isinstance(facts, dict) else [name for name in _REQUIRED if name not in facts]
    if missing:
        raise InputError(
            f"model.weights: {path} is not a model of slideunet: {', '.join(missing)} is missing. "
            "Set a folder such as results/model."
        )
    return facts


def is_model(folder: Path) -> bool:
    """Return whether a folder has the description of a model."""
    return (folder / "model.json").is_file()


def named_model(model: Path, models: Path) -> Path:
    """Return the folder of a model, given that folder or its name in the folder `models`."""
    return model if is_model(model) else models / model


def is_int8(precision: str) -> bool:
    """Return whether a precision needs a calibrated model."""
    return precision.startswith("int8")


def int8_facts(ranges: Ranges) -> dict[str, Any]:
    """Return the ranges of a calibration with their digest, for the field "int8" of `model.json`."""
    plain = {name: list(span) for name, span in ranges.items()}
    return {"ranges": plain, "sha256": fingerprint(ranges=plain)}


def int8_ranges(facts: Mapping[str, Any]) -> Ranges:
    """Return the ranges of the layers that int8 quantises, given `model.json`.

    Raises
    ------
    InputError
        When the model was not calibrated.
    DamagedDataError
        When the ranges do not match their digest.
    """
    stored = facts.get("int8")
    if stored is None:
        raise InputError(
            "prediction.precision: int8 needs a model calibrated for it, and model.json has no ranges. "
            "Calibrate it: make calibrate MODEL=folder IMAGES=folder with images like those of its training, "
            "or set the precision to auto."
        )
    if not isinstance(stored, dict) or stored.get("sha256") != fingerprint(ranges=stored.get("ranges")):
        raise DamagedDataError(
            "The ranges for int8 in model.json do not match their sha256: it is damaged or was changed. "
            "Copy the model again, or calibrate it: make calibrate MODEL=folder IMAGES=folder."
        )
    return {name: (low, high) for name, (low, high) in stored["ranges"].items()}


def output_maps(heads: Collection[str]) -> tuple[str, ...]:
    """Return the output maps of a network with these heads, the foreground first."""
    return ("foreground", *(name for head in HEADS if head in heads for name in HEADS[head]))


def model_maps(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the output maps of a model, given its `model.json`; the oldest models have no heads."""
    return output_maps(facts["architecture"].get("heads", ()))


def best_diameters(facts: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the smallest and the largest diameter of cells in pixels that suit a model, given `model.json`.

    "best" was tuned on images at several scales; without it, 90 % of the cells of the training are between.
    None: the model does not say.
    """
    known = facts.get("diameter") or {}
    if "best" in known:
        return known["best"][0], known["best"][1]
    return (known["p05"], known["p95"]) if {"p05", "p95"} <= set(known) else None


def learned_contents(folder: Path) -> list[str]:
    """Return the sha256 of the pixels of all slides that a model was trained or validated on.

    Raises
    ------
    InputError
        If `model.json` does not list them.
    """
    training = read_model_facts(folder).get("training")
    if isinstance(training, dict) and isinstance(training.get("contents"), list):
        return training["contents"]
    raise InputError(
        f"model.weights: {folder / 'model.json'} does not list the slides that the model was trained on "
        "(training.contents), so they cannot be excluded from the test. Train it again with this version."
    )


def encoder_source(model: Mapping[str, Any]) -> str:
    """Return `model.encoder_weights`, with a file replaced by the sha256 of its content."""
    name = model["encoder_weights"]
    return name if name in ENCODER_SOURCES else hashlib.sha256(Path(name).read_bytes()).hexdigest()


def training_fingerprint(
    slides: Mapping[str, list[str]],
    images: Path,
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    training: Mapping[str, Any],
) -> str:
    """Return the digest of everything that a training depends on: pixels, ground truth and settings.

    Parameters
    ----------
    slides : mapping
        Slide ids of "train" and "val".
    images : Path
        Folder with the manifests of the slides.
    model, data, training : mappings
        Sections of the configuration.
    """
    contents = {
        split: [
            [read_manifest(images / f"{slide}.json")[name] for name in ("content", "truth_content")]
            for slide in ids
        ]
        for split, ids in slides.items()
    }
    return fingerprint(
        format=FORMAT, contents=contents, model=dict(model), data=dict(data), training=dict(training)
    )
