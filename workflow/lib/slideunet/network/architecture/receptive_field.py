"""Radius of the receptive field: the least halo with which tiles are exact."""

import functools
from dataclasses import replace

import torch
from torch import nn

from slideunet.network.architecture.unet import UNet, UNetSpec


@functools.lru_cache
def halo(spec: UNetSpec) -> int:
    """Measure the radius of the receptive field, rounded up to a multiple of 2^depth.

    The gradient of one output pixel with respect to the input is probed on a network with positive weights,
    mean instead of maximum pooling and no other non-linearity, so that no path cancels or is blocked. The
    pixels at the two ends of a pooling cell have the largest radius. The halo is stored with a model, and
    prediction uses the stored value.

    Returns
    -------
    int
        Halo in pixels: 96 for depth 4 and the U-Net's own encoder.
    """
    network = _probe(spec)
    multiple = spec.multiple
    centre = (24 if spec.encoder else 8) * multiple
    radius = max(_radius(network, centre + offset, 2 * centre) for offset in (0, multiple - 1))
    return -(-radius // multiple) * multiple


def _probe(spec: UNetSpec) -> UNet:
    network = UNet(replace(spec, channels=1, width=1, heads=(), dropout=0.0)).double().eval()
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, nn.ReLU | nn.ReLU6):
                setattr(module, name, nn.Identity())
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    return network


def _radius(network: UNet, position: int, side: int) -> int:
    """Return the radius of the receptive field of a row, probed on a narrow strip; columns behave alike."""
    image = torch.ones(1, 1, side, network.spec.multiple, dtype=torch.float64, requires_grad=True)
    network(image)[0, 0, position, 0].backward()
    assert image.grad is not None
    seen = torch.nonzero(image.grad[0, 0].abs().sum(dim=1)).flatten()
    return int(max(position - seen[0], seen[-1] - position))
