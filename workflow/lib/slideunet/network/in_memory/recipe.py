"""Recipe of a training within a time budget: a YAML file with a section for GPUs, and changes to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from slideunet.errors import InputError
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly
from slideunet.network.training.schedule import Schedule

AUGMENTATIONS = (
    *("flip", "rotation", "elastic", "stain", "counterstain", "colour", "blur", "gamma", "illumination"),
    *("contrast", "brightness", "invert", "shot_noise", "noise", "darkening"),
    "cytoplasm",
)
_NESTED = {
    "model": ("preset", "width", "depth", "decoder", "dropout", "heads", "encoder"),
    "augmentation": AUGMENTATIONS,
}


@dataclass(frozen=True)
class Recipe:
    """All settings of a training except its time.

    Attributes
    ----------
    kind : "fluorescence" or "brightfield"
        Kind of the images that the network is trained on.
    channels : list of str
        Names of the image's channels, for `model.json`.
    normalisation, background : str
        As in the configuration of a run, section `data`.
    model : mapping
        As in section `model`; None is the value of the preset.
    init_from : str or None
        Folder of a model, or a name in resources/models. Of a wider one the strongest feature maps are used,
        of one with another decoder only the pretrained encoder.
    encoder_weights : str
        "random", "imagenet" or a file; used when `init_from` is None.
    batch_size, patch_size : int
        Patches per step and their side in px.
    micro_batch_size : int or None
        Patches that go through the network at once.
    learning_rate : float
        Peak of the schedule.
    schedule : str
        Schedule over the share of time elapsed; `warmup` is the share in which the rate rises.
    ema : float
        Decay of the exponential moving average of the weights.
    border_weight : float
        See `losses.CellsLoss`.
    freeze_batch_norm : float
        Last share of the time, in which batch-norm statistics are frozen.
    diameters : (float, float)
        The zoom of a patch is drawn so that the median diameter of its image's nuclei, in px, is
        log-uniform between these.
    native : float
        Share of patches that are not zoomed, and rotated by quarter turns only.
    stratum_balance : float
        0 weights the images of a source equally, 1 its strata.
    negatives : float
        Share of negative patches.
    augmentation : mapping
        Strengths, as in the configuration of a run.
    validations : int
        Number of validations, evenly spaced in time, the last at its end.
    validation_images : int or None
        Most images of each source; None uses all.
    best_by : "mean_ap" or "last"
        Weights to keep: the best by the mean AP, averaged over sources, or the last.
    precision : "auto", "fp32" or "bf16"
    compile : bool
        Let torch compile the network; needs a C compiler.
    seed : int
    source_balance : float
        0 weights sources by their number of images, 1 equally.
    destained : bool
        Whether H&E images of the packed file are a further source of fluorescence images; see `destained`.
    """

    kind: Literal["fluorescence", "brightfield"]
    channels: Sequence[str]
    normalisation: Literal["percentile", "unit", "symmetric", "zscore"]
    background: Literal["dark", "bright", "auto"]
    model: Mapping[str, Any]
    init_from: str | None
    encoder_weights: str
    batch_size: int
    micro_batch_size: int | None
    patch_size: int
    learning_rate: float
    weight_decay: float
    schedule: Schedule
    warmup: float
    ema: float
    loss: str
    loss_weights: Sequence[float] | None
    border_weight: float
    freeze_batch_norm: float
    diameters: Sequence[float]
    native: float
    stratum_balance: float
    negatives: float
    augmentation: Mapping[str, Any]
    validations: int
    validation_images: int | None
    best_by: Literal["mean_ap", "last"]
    precision: Literal["auto", "fp32", "bf16"]
    compile: bool
    seed: int
    # Recipes in model.json of earlier models lack these.
    source_balance: float = 1.0
    destained: bool = False


def read_recipe(path: Path, *, gpu: bool, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : Path
        YAML with all fields of `Recipe`, and optionally `gpu`, a mapping of values that apply on a GPU.
    gpu : bool
        Whether to apply `gpu`.
    changes : sequence of str
        Such as "batch_size=4" or "augmentation.darkening=0"; applied last.

    Raises
    ------
    InputError
        A bad file, an unknown or a missing key; all of them at once.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such recipe. Shipped recipes are in resources/models.")
    values = dict(read_yaml_strictly(path))
    for_gpu = values.pop("gpu", {})
    for change in [for_gpu if gpu else {}, *map(_parsed, changes)]:
        values = _merged(values, change)
    problems = _problems(values)
    if problems:
        raise InputError([f"{path}: {problem}" for problem in problems])
    return Recipe(**values)


def _parsed(change: str) -> dict[str, Any]:
    key, equals, text = change.partition("=")
    if not equals:
        raise InputError(f"--set {change}: write KEY=VALUE, such as augmentation.darkening=0.")
    value: Any = yaml.safe_load(text)
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _merged(values: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return values updated by a change, mappings key by key."""
    merged = dict(values)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def _problems(values: Mapping[str, Any]) -> list[str]:
    problems = _of_keys("", values, [field.name for field in fields(Recipe)])
    for name, known in _NESTED.items():
        if isinstance(values.get(name), Mapping):
            problems += _of_keys(f"{name}.", values[name], known)
    shares = (
        "warmup",
        "freeze_batch_norm",
        "native",
        "negatives",
        "stratum_balance",
        "source_balance",
        "ema",
    )
    problems += [
        f"{name} is {values[name]!r}. Give a number from 0 to 1."
        for name in shares
        if name in values and not (isinstance(values[name], int | float) and 0 <= values[name] <= 1)
    ]
    return problems + _problem_of_kind(values)


def _problem_of_kind(values: Mapping[str, Any]) -> list[str]:
    if not values.get("destained") or values.get("kind") == "fluorescence":
        return []
    return [
        f"destained is true and kind {values.get('kind')}. Only models of fluorescence learn from H&E images "
        "shown as fluorescence: set one of them to another value."
    ]


def _of_keys(prefix: str, values: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    unknown = [f"{prefix}{key} is not known. Correct or remove it." for key in values if key not in known]
    return unknown + [f"{prefix}{key} is missing. Add it." for key in known if key not in values]
