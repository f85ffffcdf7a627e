"""The network with each up-sampling merged into the convolution after it: less work, the same function.

A decoder level computes conv3(cat(skip, up(x))). Between `up` and its half of `conv3` there is no
non-linearity, so the two are one transposed convolution of 4 x 4 with stride 2, and the level is
conv3_a(skip) + up4(x). That saves 3 of 29 width^2 multiply-accumulates per pixel, and the concatenation.
"""

import torch
from torch import nn
from torch.nn import functional

from slideunet.network.architecture.ensemble import Ensemble
from slideunet.network.architecture.unet import UNet

# With more maps, oneDNN's order of addition in a 4 x 4 kernel depends on the size of the tile; at the deepest
# level (index 0), whose maps are the smallest, it did so with 128 maps of a ResNet-18.
_MOST_MAPS = 128


class MergedUNet(UNet):
    """A network for inference (batch normalisation folded) in fewer operations.

    Pixels at the border of the decoder's input differ from the plain network, which pads the up-sampled maps
    with zeros there. With enough context they are in the margin that is cut off.
    """

    def __init__(self, network: UNet) -> None:
        nn.Module.__init__(self)  # UNet.__init__ would draw random weights.
        self.spec, self.dropout = network.spec, network.dropout
        self.encoder = network.encoder
        self.up, self.decoder, self.head = network.up, network.decoder, network.head
        self.merged = nn.ModuleDict()
        for index, (up, block) in enumerate(zip(network.up, network.decoder, strict=True)):
            convolution = next(block.children())
            assert isinstance(convolution, nn.Conv2d)
            if index > 0 and convolution.in_channels <= _MOST_MAPS:
                self.merged[str(index)] = _Merged(up, convolution)
        self.eval()

    def decode(self, index: int, skip: torch.Tensor, x: torch.Tensor, crop: int) -> torch.Tensor:
        """Return the maps of a decoder level; see `UNet.decode`."""
        if str(index) not in self.merged:
            return super().decode(index, skip, x, crop)
        x = self.merged[str(index)](skip, x, crop)
        for part in list(self.decoder[index].children())[1:]:
            x = part(x)
        return x


class _Merged(nn.Module):
    """An up-sampling merged with the 3 x 3 convolution of it and the skip connection."""

    skip: torch.Tensor
    up: torch.Tensor
    bias: torch.Tensor

    @torch.no_grad()
    def __init__(self, up: nn.Module, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, bias = _taps(up)
        kernels = convolution.weight.split(
            [convolution.in_channels - weight.shape[1], weight.shape[1]], dim=1
        )
        self.register_buffer("skip", kernels[0].clone())
        kernel = kernels[1].double()
        # A tap (a, b) of `up` and a tap (i, j) of the convolution meet at (a + 2 - i, b + 2 - j).
        self.register_buffer("up", functional.conv2d(weight.double(), kernel, padding=2).to(weight.dtype))
        added = torch.einsum("okij,k->o", kernel, bias.double()).to(bias.dtype)
        self.register_buffer("bias", added if convolution.bias is None else convolution.bias + added)

    def forward(self, skip: torch.Tensor, x: torch.Tensor, crop: int) -> torch.Tensor:
        x = functional.conv_transpose2d(x, self.up, self.bias, stride=2, padding=1 + crop)
        return x + functional.conv2d(skip, self.skip, padding=1)


def merged(network: UNet) -> UNet:
    """Return a network, or an ensemble, with every decoder merged."""
    if isinstance(network, Ensemble):
        return Ensemble([MergedUNet(member) for member in network.networks()])
    return MergedUNet(network)


def _taps(up: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an up-sampling as the weight (maps below, maps, 2, 2) and bias of a transposed convolution."""
    *_, last = up.children() if isinstance(up, nn.Sequential) else [up]
    assert isinstance(last, nn.Conv2d | nn.ConvTranspose2d)
    assert last.bias is not None
    if isinstance(last, nn.ConvTranspose2d):
        return last.weight, last.bias
    return last.weight.transpose(0, 1).expand(-1, -1, 2, 2), last.bias
