"""The recipe of a training within a time budget: a YAML file, a part of it for GPUs, and changes to it."""

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
)
_NESTED = {
    "model": ("preset", "width", "depth", "decoder", "dropout", "heads", "encoder"),
    "augmentation": AUGMENTATIONS,
}


@dataclass(frozen=True)
class Recipe:
    """All choices of a training but its time.

    Attributes
    ----------
    kind : "fluorescence" or "brightfield"
        Which images of the archive are learned from.
    channels : list of str
        Names of the image's channels, for `model.json`.
    normalisation, background : str
        As in the configuration of a run, section `data`.
    model : mapping
        As there; None is the preset's.
    init_from : str or None
        Folder of a model, or a name in resources/models. Of another width, its trained encoder alone.
    encoder_weights : str
        "random", "imagenet" or a file, without `init_from`.
    batch_size, patch_size : int
        Patches of a step and their side in px.
    micro_batch_size : int or None
        Patches that go through the network at once.
    learning_rate : float
        The highest.
    schedule : str
        By the share of the time that is over; `warmup` is the share in which the rate rises.
    ema : float
        Of the running average of the weights.
    border_weight : float
        See `losses.CellsLoss`.
    freeze_batch_norm : float
        Last share of the time in which batch normalisation works as in prediction.
    diameters : (float, float)
        The zoom of a patch is drawn so that the median diameter of its image's nuclei, in px, lies between
        these, evenly in the logarithm.
    native : float
        Share of the patches that are not zoomed and not turned but by quarters.
    stratum_balance : float
        0 shows the images of a source equally often, 1 its strata.
    negatives : float
        Share of patches without a cell.
    augmentation : mapping
        Strengths, as in the configuration of a run.
    validations : int
        At even shares of the time, the last at its end.
    validation_images : int or None
        At most so many of each source; None takes all.
    best_by : "mean_ap" or "last"
        Which weights are kept: by the mean over sources of the mean AP of each, or those of the end.
    precision : "auto", "fp32" or "bf16"
    compile : bool
        Let torch compile the network; needs a C compiler.
    seed : int
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


def read_recipe(path: Path, *, gpu: bool, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : Path
        YAML with all fields of `Recipe`, and perhaps `gpu`, a mapping of those that are others on a GPU.
    gpu : bool
        Whether these count.
    changes : sequence of str
        Like "batch_size=4" or "augmentation.darkening=0"; they count last.

    Raises
    ------
    InputError
        A bad file, an unknown or a missing key; all of them at once.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such recipe. Those that ship lie in resources/models.")
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
    """Return values with some changed, mappings key by key."""
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
    shares = ("warmup", "freeze_batch_norm", "native", "negatives", "stratum_balance", "ema")
    problems += [
        f"{name} is {values[name]!r}. Give a number from 0 to 1."
        for name in shares
        if name in values and not (isinstance(values[name], int | float) and 0 <= values[name] <= 1)
    ]
    return problems


def _of_keys(prefix: str, values: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    unknown = [f"{prefix}{key} is not known. Correct or remove it." for key in values if key not in known]
    return unknown + [f"{prefix}{key} is missing. Add it." for key in known if key not in values]
