"""Validation: the same tiled predictor as for new slides, counted at every threshold at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slideunet.cells.separation.decoding import Decoding, fitting_methods
from slideunet.model_json import Precision
from slideunet.network.architecture.output_maps import to_bytes
from slideunet.network.architecture.unet import UNet
from slideunet.network.inference.torch_tiles import for_inference, predict_tiles
from slideunet.network.patches.dataset import LabelledSlide
from slideunet.network.training.losses import CERTAINLY_NOT
from slideunet.network.training.tune_cells import score
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.stores.verified import open_image_store, open_label_store
from slideunet.truth.ignore_label import foreground_and_valid

# On DSB2018 the top was 0.9353 at 0.70 and 0.9335 at 0.50, where the mean over images was 0.005 higher.
_AS_GOOD = 0.002


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
        Of all slides together, at threshold 0.5 and by the first method that fits the network. A cell that
        the border of a tile cuts is two, in the truth as well.
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
    ready = for_inference(network)
    counts, cells = np.zeros((2, 256), np.int64), InstanceCounts()
    weighted_loss, n_pixels, maps = 0.0, 0, network.spec.maps
    decoding = Decoding(0.5, fitting_methods(maps)[0])
    for slide in slides:
        truth = open_label_store(slide.manifest, "truth")
        for tile, output in predict_tiles(
            ready, open_image_store(slide.manifest), slide.normalisation, precision=precision
        ):
            labels = truth[tile.write]
            target, valid = foreground_and_valid(labels)
            # Ignored pixels add nothing to the loss.
            logits = np.where(valid, output[0], CERTAINLY_NOT)
            both = (torch.from_numpy(values.astype(np.float32))[None, None] for values in (logits, target))
            weighted_loss += float(loss(*both)) * target.size
            n_pixels += target.size
            planes = to_bytes(torch.from_numpy(output)[None], maps)[0].numpy()
            cells += score(labels, dict(zip(maps, planes, strict=True)), decoding)
            for side, where in enumerate((target, valid & ~target)):
                counts[side] += np.bincount(planes[0][where], minlength=256)
    return Validation(weighted_loss / n_pixels, counts[0], counts[1], cells)
