"""Initial weights, EMA and checkpoint of a training within a time budget."""

import copy
import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from slideunet.errors import InputError
from slideunet.model_json import named_model
from slideunet.network.architecture.encoder_weights import for_channels, load_encoder_weights
from slideunet.network.architecture.model_folder import load_model
from slideunet.network.architecture.narrowing import fits_into, narrow
from slideunet.network.architecture.unet import UNet
from slideunet.network.in_memory.recipe import Recipe
from slideunet.network.training.fine_tuning import start_from
from slideunet.network.training.train import build_spec
from slideunet.stores.files import write_atomically

_SAME = ("width", "depth", "decoder", "head_stride")


def initialised(recipe: Recipe, models: Path) -> UNet:
    """Build the network of a recipe with its initial weights.

    Parameters
    ----------
    recipe : Recipe
    models : Path
        Folder of the models that `init_from` names.

    Raises
    ------
    InputError
        When the weights belong to another encoder.
    """
    torch.manual_seed(recipe.seed)
    network = UNet(build_spec(recipe.model, len(recipe.channels)))
    if recipe.init_from is not None:
        begin_with(network, named_model(Path(recipe.init_from), models))
    elif network.spec.encoder is not None and recipe.encoder_weights != "random":
        load_encoder_weights(network.encoder, network.spec.encoder, recipe.encoder_weights)
    return network


def begin_with(network: UNet, folder: Path) -> None:
    """Load the weights of a model, or what of them fits: see `narrow`, else those of a pretrained encoder."""
    source, _ = load_model(folder)
    if all(getattr(source.spec, name) == getattr(network.spec, name) for name in _SAME):
        start_from(network, folder)
        logging.info(f"The training begins with the weights of {folder}")
        return
    if source.spec.encoder is None or source.spec.encoder != network.spec.encoder:
        raise InputError(
            f"init_from: {folder} has another width or depth and no pretrained encoder in common. Set "
            "init_from to null, or model to the architecture of that folder."
        )
    target = network.encoder.stages.state_dict()
    weights = source.encoder.stages.state_dict()
    shared = {name: values for name, values in weights.items() if name in target}
    for name, values in shared.items():
        if values.ndim == 4 and values.shape[1] != target[name].shape[1]:
            shared[name] = for_channels(values, target[name].shape[1])
    network.encoder.stages.load_state_dict(target | shared)
    if fits_into(source, network):
        narrow(source, network)
        logging.info(f"Encoder and decoder begin with the strongest feature maps of {folder}")
        return
    logging.info(f"The encoder begins with the weights of {folder}")


class Average:
    """EMA of a network's weights and batch-norm statistics; see `training.averaged`.

    torch's `AveragedModel` reads its counter from the device at every step, which stalls a GPU.

    Attributes
    ----------
    network : UNet
        Network with the averaged weights, in evaluation mode.
    """

    def __init__(self, network: UNet, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self._old, self._new = (
            [values for values in one.state_dict().values() if values.is_floating_point()]
            for one in (self.network, network)
        )

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Move towards the network; `steps` is the number of earlier steps."""
        kept = min(self.decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(self._old, self._new, 1 - kept)


@dataclass
class State:
    """Checkpoint: everything needed to resume a training.

    Attributes
    ----------
    step : int
        Number of finished steps.
    seconds : float
        Seconds of the budget that are used.
    frozen : bool
        Whether batch-norm statistics are frozen.
    network, average, optimiser : dict
        Their state dicts.
    history : list of dict
        One row per validation.
    best : dict
        The best averaged weights so far; `best_score` is their score.
    precision : str
    """

    precision: str
    step: int = 0
    seconds: float = 0.0
    frozen: bool = False
    network: dict[str, torch.Tensor] = field(default_factory=dict)
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_score: float = -1.0

    def save(self, path: Path) -> None:
        """Write atomically."""
        buffer = io.BytesIO()
        torch.save(vars(self), buffer)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read what `save` wrote; only tensors and plain values, never code."""
        return cls(**torch.load(path, weights_only=True, map_location="cpu"))
