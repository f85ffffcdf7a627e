"""Validation: the same tiled predictor as for new slides, counted at every threshold at once."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slideunet.cells.separation.decoding import Decoding, fitting_methods
from slideunet.geometry.blocks import BlockGrid, Region
from slideunet.geometry.pixels import Pixels
from slideunet.model_json import Precision
from slideunet.network.architecture.output_maps import to_bytes
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import UNet
from slideunet.network.inference.engines import Engine
from slideunet.network.inference.predict_region import predict_core
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.network.patches.dataset import LabelledSlide
from slideunet.network.training.losses import CERTAINLY_NOT
from slideunet.network.training.tune_cells import WholeMaps, match_cells
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.slides.slide_image import open_slide_image
from slideunet.stores.verified import open_label_store
from slideunet.truth.ignore_label import foreground_and_valid

# On DSB2018 the top was 0.9353 at 0.70 and 0.9335 at 0.50, where the mean over images was 0.005 higher.
_AS_GOOD = 0.002
_ROWS = 256


@dataclass(frozen=True)
class Validation:
    """The loss, what pixels of all slides got each probability, and how many cells were found.

    Attributes
    ----------
    loss : float
        Of the foreground, the mean over pixels.
    foreground, background : ndarray (256,) of int64
        Pixels by their stored probability. They are pooled: the threshold of the highest mean over slides was
        0.22 where this one was 0.53, for 0.0004 more Dice and 0.010 less AP (docs/performance.md).
    cells : InstanceCounts
        Of all slides together, at threshold 0.5 and by the first method that fits the network.
    """

    loss: float
    foreground: np.ndarray
    background: np.ndarray
    cells: InstanceCounts

    def dice(self) -> np.ndarray:
        """Return the Dice of every threshold t = 0..255; 1 where there is neither truth nor prediction."""
        return dice_by_threshold(self.foreground, self.background)

    def dice_at(self, threshold: float) -> float:
        """Return the Dice where foreground is probability >= threshold (0 to 1)."""
        return float(self.dice()[int(np.ceil(threshold * 255))])

    def best_threshold(self) -> float:
        """Return the threshold (0 to 1) nearest to 0.5 whose Dice is as good as the highest.

        Pooled over few slides, the highest Dice is a flat top on which chance chooses: `_AS_GOOD` lower
        counts as equal. The threshold lies half-way between two of the 256 stored probabilities: rounding
        cannot change its meaning.
        """
        return best_threshold(self.dice())


def dice_by_threshold(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the Dice (256,) of every threshold, given the pixels (256,) of each stored probability."""
    tp, fp = (counts[::-1].cumsum()[::-1] for counts in (foreground, background))
    either = foreground.sum() + tp + fp
    return np.where(either > 0, 2 * tp / np.maximum(either, 1), 1.0)


def best_threshold(dice: np.ndarray) -> float:
    """Return the threshold (0 to 1) of `Validation.best_threshold`, given the Dice (256,) of each byte."""
    good = np.flatnonzero(dice[1:] >= dice[1:].max() - _AS_GOOD) + 0.5
    return float(good[np.abs(good - 127.5).argmin()]) / 255


def validate(
    network: UNet, slides: Sequence[LabelledSlide], loss: nn.Module, precision: Precision
) -> Validation:
    """Predict all validation slides as new slides are predicted, and count pixels and cells."""
    device, names = next(network.parameters()).device, network.spec.maps
    threads = torch.get_num_threads()
    engine = TorchEngine(network, precision, device, halo(network.spec), threads=threads, logits=True)
    counts, cells, total = np.zeros((2, 256), np.int64), InstanceCounts(), 0.0
    for slide in slides:
        truth = open_label_store(slide.manifest, "truth")
        # In a file, as a slide may be larger than the memory.
        with tempfile.TemporaryFile() as file:
            planes = np.memmap(file, np.uint8, "w+", shape=(len(names), *slide.shape))
            for region, labels, output in _outputs(engine, slide, truth):
                planes[:, *region] = _as_bytes(output, names)
                counts += _by_probability(planes[0, *region], labels)
                total += _summed(loss, output[0], labels)
            cells += match_cells(truth, WholeMaps(names, planes), Decoding(0.5, fitting_methods(names)[0]))
    pixels = sum(math.prod(slide.shape) for slide in slides)
    return Validation(total / pixels, counts[0], counts[1], cells)


def _outputs(
    engine: Engine, slide: LabelledSlide, truth: Pixels
) -> Iterator[tuple[Region, np.ndarray, np.ndarray]]:
    """Yield every annotated block of a slide, its truth, and the output (maps, y, x) float32 of the network.

    Of a large slide with one corrected region nearly all blocks are ignored, and are not predicted.
    """
    pixels = open_slide_image(slide.manifest)
    for rows, columns in BlockGrid(slide.shape):
        labels = truth[rows, columns]
        if foreground_and_valid(labels)[1].any():
            core = ((rows.start, rows.stop), (columns.start, columns.stop))
            yield (rows, columns), labels, predict_core(engine, pixels, slide.normalisation, core)


def _as_bytes(output: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return what the engine would have returned, some rows after the others: float64 takes much room."""
    strips = (torch.from_numpy(output[None, :, y : y + _ROWS]) for y in range(0, output.shape[1], _ROWS))
    return np.concatenate([to_bytes(strip.double(), names)[0].numpy() for strip in strips], axis=1)


def _by_probability(probability: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count the valid pixels of cells and of background (2, 256) by their probability."""
    target, valid = foreground_and_valid(labels)
    sides = (target, valid & ~target)
    return np.stack([np.bincount(probability[where], minlength=256) for where in sides])


def _summed(loss: nn.Module, logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the loss of a block times its pixels; ignored pixels add nothing."""
    target, valid = foreground_and_valid(labels)
    both = (np.where(valid, logits, CERTAINLY_NOT), target)
    tensors = (torch.from_numpy(values.astype(np.float32))[None, None] for values in both)
    return float(loss(*tensors)) * target.size
