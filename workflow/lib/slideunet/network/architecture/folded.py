"""The network for inference: batch normalisation folded into the convolutions."""

import copy
import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from slideunet.network.architecture.unet import UNet, channels_last


def for_inference(network: UNet) -> UNet:
    """Return a copy in evaluation mode, batch normalisation folded into the convolutions, channels last."""
    folded = copy.deepcopy(network).eval()
    for block in list(folded.modules()):
        for (first, convolution), (second, normalisation) in itertools.pairwise(block.named_children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                setattr(block, first, fuse_conv_bn_eval(convolution, normalisation))
                setattr(block, second, nn.Identity())
    return channels_last(folded)
