"""Several networks of one architecture, trained from different seeds, as one network."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from slideunet.model_json import Head
from slideunet.network.architecture.unet import UNet, UNetSpec, Window


class Ensemble(UNet):
    """Mean of the outputs of its members: of logits, and of offsets in pixels.

    Used like a single network; its work is that of all members together.
    """

    def __init__(self, members: Sequence[UNet]) -> None:
        nn.Module.__init__(self)  # UNet.__init__ would draw random weights.
        self.spec = replace(members[0].spec, members=len(members))
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor, margin: int = 0, window: Window | None = None) -> torch.Tensor:
        """Return the mean of the maps (n, maps, y, x); see `UNet.forward`."""
        total = self.members[0](x, margin, window)
        for member in self.members[1:]:
            total = total + member(x, margin, window)
        return total / len(self.members)

    def networks(self) -> list[UNet]:
        """Return the members."""
        return [cast("UNet", member) for member in self.members]

    def with_heads(self, heads: Sequence[Head]) -> "Ensemble":
        """Return a copy that computes only some of the heads, and always the foreground."""
        return Ensemble([member.with_heads(heads) for member in self.networks()])


def build_network(spec: UNetSpec) -> UNet:
    """Return a network with random weights; an ensemble when `members` exceeds 1."""
    if spec.members == 1:
        return UNet(spec)
    return Ensemble([UNet(replace(spec, members=1)) for _ in range(spec.members)])
