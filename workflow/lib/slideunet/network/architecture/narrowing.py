"""The decoder of a narrow U-Net from that of a wide one: its strongest feature maps (network pruning).

The strength of a map is the factor of its batch normalisation (Liu et al. 2017, arXiv:1708.06519) times the
norm of the weights that read it. What is kept needs further training.
"""

import torch

from slideunet.network.architecture.unet import UNet

_Weights = dict[str, torch.Tensor]


def fits_into(source: UNet, network: UNet) -> bool:
    """Whether `narrow` applies: the same pretrained encoder, depth and up-sampling, and no greater width."""
    one, other = source.spec, network.spec
    return (
        one.encoder is not None
        and (one.encoder, one.depth, one.decoder) == (other.encoder, other.depth, other.decoder)
        and one.decoder == "transposed"
        and one.members == 1
        and one.width >= other.width
    )


def narrow(source: UNet, network: UNet) -> None:
    """Load the decoder of a wider network, in place, below the full resolution.

    The level of full resolution and the head keep their weights.

    Parameters
    ----------
    source, network : UNet
        See `fits_into`.
    """
    known, weights = source.state_dict(), network.state_dict()
    below = torch.arange(source.encoder.widths[-1])
    for level in range(source.spec.depth - max(1, source.spec.finest, network.spec.finest)):
        count = len(weights[f"up.{level}.bias"])
        below = _narrow_level(known, weights, level, below, count)
    network.load_state_dict(weights)


def _narrow_level(
    known: _Weights, weights: _Weights, level: int, below: torch.Tensor, count: int
) -> torch.Tensor:
    """Set the weights of one level, given the maps that are kept below it, and return those that it keeps."""
    up, block = f"up.{level}", f"decoder.{level}"
    first, second = known[f"{block}.0.weight"], known[f"{block}.3.weight"]
    skipped = first.shape[1] - len(first)
    readers = known.get(f"up.{level + 1}.weight", torch.ones(len(second), 1))
    raised = _strongest(_norm(known[f"{up}.weight"], 1) * _norm(first[:, skipped:], 1), count)
    middle = _strongest(known[f"{block}.1.weight"].abs() * _norm(second, 1), count)
    found = _strongest(known[f"{block}.4.weight"].abs() * _norm(readers, 0), count)
    read = torch.cat([torch.arange(skipped), skipped + raised])
    weights[f"{up}.weight"] = known[f"{up}.weight"][below][:, raised]
    weights[f"{up}.bias"] = known[f"{up}.bias"][raised]
    weights[f"{block}.0.weight"] = first[middle][:, read]
    weights[f"{block}.3.weight"] = second[found][:, middle]
    for place, maps in ((1, middle), (4, found)):
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{block}.{place}.{part}"] = known[f"{block}.{place}.{part}"][maps]
    return found


def _norm(weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the norm of the weights of each map along an axis."""
    return weight.transpose(0, axis).flatten(1).norm(dim=1)


def _strongest(strength: torch.Tensor, count: int) -> torch.Tensor:
    return strength.topk(count).indices.sort().values
