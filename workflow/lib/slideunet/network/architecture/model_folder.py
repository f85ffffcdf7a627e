"""A model on disk: `model.safetensors` (the weights) and `model.json` (everything needed to use them)."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from slideunet.errors import DamagedDataError, InputError
from slideunet.model_json import read_model_facts
from slideunet.network.architecture.ensemble import build_network
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.stores.files import write_atomically
from slideunet.stores.manifests import write_manifest


def save_model(folder: Path, weights: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write weights and facts atomically; the json comes last and carries the sha256 of the weights.

    Parameters
    ----------
    folder : Path
        E.g. `results/model`.
    weights : dict
        State dict of the network.
    facts : dict
        Must hold "architecture", the fields of `UNetSpec`, and "halo".

    Raises
    ------
    ValueError
        When the halo is not the one of the architecture: the result would depend on the size of tiles.
    """
    needed = halo(UNetSpec(**facts["architecture"]))
    if facts["halo"] != needed:
        raise ValueError(f"halo {facts['halo']} px, where the receptive field needs {needed} px")
    data = safetensors.torch.save({name: tensor.contiguous().cpu() for name, tensor in weights.items()})
    write_atomically(folder / "model.safetensors", data)
    write_manifest(folder / "model.json", facts | {"sha256": hashlib.sha256(data).hexdigest()})


def load_model(folder: Path) -> tuple[UNet, dict[str, Any]]:
    """Build the network of a model folder with its weights, and return it with its `model.json`.

    Raises
    ------
    InputError, DamagedDataError
        See `read_model_facts` and `load_network`.
    """
    facts = read_model_facts(folder)
    return load_network(folder, facts), facts


def load_network(folder: Path, facts: Mapping[str, Any]) -> UNet:
    """Build the network of a model folder whose `model.json` is known.

    Parameters
    ----------
    folder : Path
        Folder with model.safetensors.
    facts : mapping
        "architecture" and "sha256" are used.

    Raises
    ------
    InputError
        When there are no weights, or they do not fit the architecture.
    DamagedDataError
        When the weights do not match the sha256 in `model.json`.
    """
    path = folder / "model.safetensors"
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"model.weights: there is no {path} beside model.json. Copy both files.") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != facts["sha256"]:
        raise DamagedDataError(
            f"{path} does not match the sha256 in model.json (expected {facts['sha256'][:12]}, "
            f"found {digest[:12]}). It is damaged or was changed. Copy the model again."
        )
    try:
        network = build_network(UNetSpec(**facts["architecture"]))
        network.load_state_dict(safetensors.torch.load(data))
    except (RuntimeError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} does not fit the architecture in model.json: {error}") from error
    return network


def half_precision(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of a network as float16; batch-norm statistics stay float32.

    The statistics are few, and a variance may exceed the range of float16 (6e-8 to 65,504).
    """
    return {
        name: tensor.half() if tensor.is_floating_point() and "running_" not in name else tensor
        for name, tensor in weights.items()
    }
