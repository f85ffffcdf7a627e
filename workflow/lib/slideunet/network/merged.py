"""The network with each up-sampling merged into the convolution behind it: less work, the same function.

A decoder level computes conv3(cat(skip, up(x))). There is nothing between `up` and its half of `conv3` but sums
and products, so the two are one transposed convolution of 4 x 4 with stride 2, and the level is
conv3_a(skip) + up4(x). That saves 3 of 29 width^2 multiply-accumulates per pixel, and the concatenation.
"""

import torch
from torch import nn
from torch.nn import functional

from slideunet.network.unet import UNet


# With more maps, oneDNN adds the products of a 4 x 4 kernel in another order for tiles of another size.
_MOST_MAPS = 128


class MergedUNet(UNet):
    """A network for inference (batch normalisation folded) in fewer operations.

    Pixels at the border of what the decoder gets differ from the plain network: there, that one pads the
    up-sampled maps with zeros. With enough context they lie in the margin that is left out.
    """

    def __init__(self, network: UNet) -> None:
        super().__init__(network.spec)
        self.eval()
        self.encoder, self.bottom = network.encoder, network.bottom
        self.up, self.decoder, self.head = network.up, network.decoder, network.head
        self.merged = nn.ModuleDict(
            {
                str(index): _Merged(up, block[0])
                for index, (up, block) in enumerate(zip(network.up, network.decoder, strict=True))
                if block[0].in_channels <= _MOST_MAPS
            }
        )

    def decode(self, index: int, skip: torch.Tensor, x: torch.Tensor, crop: int) -> torch.Tensor:
        """Return the maps of a decoder level; see `UNet.decode`."""
        if str(index) not in self.merged:
            return super().decode(index, skip, x, crop)
        x = self.merged[str(index)](skip, x, crop)
        for part in list(self.decoder[index])[1:]:
            x = part(x)
        return x


class _Merged(nn.Module):
    """An up-sampling and the 3 x 3 convolution that reads it beside skipped maps."""

    def __init__(self, up: nn.Module, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, bias = _taps(up)
        skipped = convolution.in_channels - weight.shape[1]
        self.skip = nn.Conv2d(skipped, convolution.out_channels, 3, padding=1, bias=False)
        self.skip.weight = nn.Parameter(convolution.weight[:, :skipped])
        kernel = convolution.weight[:, skipped:].double()
        # A tap (a, b) of `up` and a tap (i, j) of the convolution meet at (a + 2 - i, b + 2 - j).
        merged = functional.conv2d(weight.double(), kernel, padding=2)
        self.weight = nn.Parameter(merged.float())
        added = torch.einsum("okij,k->o", kernel, bias.double())
        self.bias = nn.Parameter(convolution.bias + added.float())

    def forward(self, skip: torch.Tensor, x: torch.Tensor, crop: int) -> torch.Tensor:
        x = functional.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1 + crop)
        return x + self.skip(skip)


def _taps(up: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an up-sampling as the weight (maps below, maps, 2, 2) and bias of a transposed convolution."""
    if isinstance(up, nn.ConvTranspose2d):
        return up.weight, up.bias
    pointwise = up[1]
    return pointwise.weight.transpose(0, 1).expand(-1, -1, 2, 2), pointwise.bias
