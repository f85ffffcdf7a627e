"""Fine-tuning: the weights of a trained network as the start of another training."""

from pathlib import Path

from slideunet.errors import InputError
from slideunet.network.architecture.encoder_weights import for_channels
from slideunet.network.architecture.model_folder import load_model
from slideunet.network.architecture.unet import UNet

_SAME = ("encoder", "width", "depth", "decoder", "head_stride")


def start_from(network: UNet, folder: Path) -> None:
    """Load the weights of a model into a network, in place.

    The first layer is adapted to another number of channels, see `for_channels`. Heads that the model does
    not have keep their random weights; heads that the network does not have are dropped.

    Parameters
    ----------
    network : UNet
        With any number of channels and any heads.
    folder : Path
        Folder of the model.

    Raises
    ------
    InputError
        When there is no model, it is an ensemble, or its encoder, width, depth or decoder are different.
    """
    source, _ = load_model(folder)
    if source.spec.members > 1:
        raise InputError(
            f"training.init_from: {folder} is an ensemble of {source.spec.members} networks, and fine-tuning "
            "starts from one. Name one of them, such as results/seeds/0."
        )
    different = [name for name in _SAME if getattr(source.spec, name) != getattr(network.spec, name)]
    if different:
        raise InputError(
            f"training.init_from: {folder} has "
            + ", ".join(f"{name} {getattr(source.spec, name)}" for name in different)
            + "; this training has "
            + ", ".join(f"{name} {getattr(network.spec, name)}" for name in different)
            + ". Set the same values under model."
        )
    weights = source.state_dict()
    for name, values in network.encoder.state_dict().items():
        if values.ndim == 4:
            weights[f"encoder.{name}"] = for_channels(weights[f"encoder.{name}"], values.shape[1])
    head, known = network.head_rows(), source.head_rows()
    for row, name in enumerate(network.spec.maps):
        if name in source.spec.maps:
            for part, values in head.items():
                values[row] = known[part][source.spec.maps.index(name)]
    weights |= {f"head.{part}": values.flatten(0, 1) for part, values in head.items()}
    network.load_state_dict(weights)
