"""Exact tiled prediction with torch: the same logits, bit for bit, whatever the size of the tiles."""

import copy
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from slideunet.geometry.pixels import Pixels
from slideunet.geometry.tiles import Interval, Tile, tile_grid
from slideunet.geometry.windows import read_mirrored
from slideunet.model_json import Precision
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import UNet, UNetSpec, channels_last
from slideunet.network.inference.convolutions import Convolution, least_core
from slideunet.network.inference.precision import reduced_precision
from slideunet.slides.normalisation import Normalisation

TILE = 1024
# torch leaves a float32 convolution of one image with so few inputs to another kernel: other last bits.
_SMALL = 20480


def for_inference(network: UNet) -> UNet:
    """Return a copy in evaluation mode, batch normalisation folded into the convolutions, channels last."""
    folded = copy.deepcopy(network).eval()
    for block in list(folded.modules()):
        for (first, convolution), (second, normalisation) in itertools.pairwise(block.named_children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                setattr(block, first, fuse_conv_bn_eval(convolution, normalisation))
                setattr(block, second, nn.Identity())
    return channels_last(folded)


def best_device() -> torch.device:
    """Return the GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def predict_tile(
    network: UNet, pixels: Pixels, normalisation: Normalisation, place: Tile, precision: Precision
) -> np.ndarray:
    """Return the output (maps, core height, core width) float32 of one tile; see `predict_tiles`."""
    margin = place.core[0][0] - place.read[0][0]
    rows, columns = (_with_room(span, network.spec, margin) for span in place.read)
    block = normalisation.apply(read_mirrored(pixels, (rows, columns)))
    height, width = (stop - start for start, stop in place.core)
    return _output(network, block, margin, precision)[:, :height, :width]


def predict_tiles(
    network: UNet,
    pixels: Pixels,
    normalisation: Normalisation,
    *,
    tile: int = TILE,
    precision: Precision = "fp32",
) -> Iterator[tuple[Tile, np.ndarray]]:
    """Predict a slide tile by tile.

    Parameters
    ----------
    network : UNet
        In evaluation mode, on the device to use.
    pixels : array-like (c, y, x)
        Raw; tiles of it are read when they are needed.
    normalisation : Normalisation
        Of the whole slide.
    tile : int
        Side of the written core in pixels; rounded up to a multiple of 2^depth.
    precision : "fp32" or "bf16"

    Yields
    ------
    Tile, output (maps, core height, core width) float32: the foreground logit, then the maps of the heads
    """
    height, width = pixels.shape[-2:]
    for place in tile_grid(
        (height, width), aligned(tile, network), halo(network.spec), network.spec.multiple
    ):
        yield place, predict_tile(network, pixels, normalisation, place, precision)


def _with_room(span: Interval, spec: UNetSpec, margin: int) -> Interval:
    """Lengthen what a tile reads until its core has the least side that torch computes alike."""
    start, stop = span
    return start, max(stop, start + 2 * margin + least_core(spec, margin, large_enough))


def large_enough(convolution: Convolution) -> bool:
    """Tell whether torch uses the kernel for it that it uses for all larger ones."""
    return convolution.inputs * convolution.side**2 > _SMALL


def aligned(tile: int, network: UNet) -> int:
    """Round a tile side up to the next multiple of 2^depth."""
    return tile + -tile % network.spec.multiple


@torch.inference_mode()
def _output(network: UNet, block: np.ndarray, margin: int, precision: Precision) -> np.ndarray:
    device = next(network.parameters()).device
    batch = torch.from_numpy(block)[None].to(device, memory_format=torch.channels_last)
    with reduced_precision(device, precision):
        return network(batch, margin)[0].float().cpu().numpy()
