"""The model folder of a training within a time budget."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slideunet import __version__
from slideunet.model_json import learned_contents, read_model_facts
from slideunet.network.architecture.model_folder import half_precision, save_model
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import UNetSpec
from slideunet.network.in_memory.archive import PackedImage
from slideunet.network.in_memory.learner import State
from slideunet.network.in_memory.prepared import Prepared
from slideunet.network.in_memory.recipe import Recipe
from slideunet.stores.manifests import write_manifest


def write_model(
    folder: Path,
    spec: UNetSpec,
    state: State,
    recipe: Recipe,
    splits: Mapping[str, Sequence[PackedImage]],
    *,
    diameters: Mapping[str, float],
    initial: Path | None,
    more: Mapping[str, Any],
) -> None:
    """Write model.safetensors, in half precision, and model.json; the threshold is 0.5 until it is tuned.

    Parameters
    ----------
    folder : Path
    spec : UNetSpec
    state : State
        State of the finished training; its best weights are written.
    recipe : Recipe
    splits : mapping
        "train" and "val" to images.
    diameters : mapping
        Diameters of the training cells; see `diameter_facts`.
    initial : Path or None
        Folder of the model whose weights the training began with.
    more : mapping
        Further facts about the training.
    """
    training = {
        **_learned(splits, initial),
        "seed": recipe.seed,
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "history": state.history,
        "recipe": asdict(recipe),
    }
    facts = {
        "architecture": spec.as_dict(),
        "normalisation": recipe.normalisation,
        "background": recipe.background,
        "channels": list(recipe.channels),
        "mpp": None,
        "halo": halo(spec),
        "versions": {
            "slideunet": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "threshold": 0.5,
        "precision": state.precision,
        "diameter": dict(diameters),
        "training": training | dict(more),
    }
    save_model(folder, half_precision(state.best), facts)


def add_tuned(folder: Path, tuned: Mapping[str, Any]) -> None:
    """Write a threshold and decodings into model.json; the weights do not change."""
    write_manifest(folder / "model.json", read_model_facts(folder) | dict(tuned))


def diameter_facts(images: Sequence[Prepared]) -> dict[str, float]:
    """Return percentiles 5, 50 and 95 of the cells' diameters in px; see `training.diameters`."""
    across = 2 * np.concatenate([image.cells[:, 2] for image in images])
    low, median, high = (round(float(value), 1) for value in np.percentile(across, (5, 50, 95)))
    return {"p05": low, "median": median, "p95": high}


def _learned(splits: Mapping[str, Sequence[PackedImage]], initial: Path | None) -> dict[str, Any]:
    """Return which images a model has learned from, those of its initial weights included."""
    seen = {packed.entry.content for images in splits.values() for packed in images}
    facts: dict[str, Any] = {
        "slides": {split: [packed.entry.name for packed in images] for split, images in splits.items()},
        "contents": sorted(seen | set(learned_contents(initial) if initial else ())),
        "licences": _licences([packed for images in splits.values() for packed in images]),
    }
    return facts if initial is None else facts | {"init_from": read_model_facts(initial)["sha256"]}


def _licences(images: Sequence[PackedImage]) -> dict[str, list[str]]:
    """Return the licences of each source."""
    found: dict[str, set[str]] = {}
    for packed in images:
        found.setdefault(packed.entry.source, set()).add(packed.entry.licence)
    return {source: sorted(licences) for source, licences in sorted(found.items())}
