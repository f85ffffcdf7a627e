"""Validation: the same tiled predictor as for new slides, counted at every threshold at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slideunet.images.stores import open_image_store, open_label_store
from slideunet.network.facts import Precision
from slideunet.network.inference import for_inference, predict_tiles, to_uint8
from slideunet.network.patches import LabelledSlide
from slideunet.network.unet import UNet

# On DSB2018 the top was 0.9353 at 0.70 and 0.9335 at 0.50, where the mean over images was 0.005 higher.
_AS_GOOD = 0.002


@dataclass(frozen=True)
class Validation:
    """The loss, and how many foreground and background pixels of all slides got each probability.

    Attributes
    ----------
    loss : float
        Mean over pixels.
    foreground, background : ndarray (256,) of int64
        Pixels by their stored probability. They are pooled: the threshold of the highest mean over slides was
        0.22 where this one was 0.53, for 0.0004 more Dice and 0.010 less AP (docs/performance.md).
    """

    loss: float
    foreground: np.ndarray
    background: np.ndarray

    def dice(self) -> np.ndarray:
        """Return the Dice of every threshold t = 0..255; 1 where there is neither truth nor prediction."""
        tp, fp = (counts[::-1].cumsum()[::-1] for counts in (self.foreground, self.background))
        either = self.foreground.sum() + tp + fp
        return np.where(either > 0, 2 * tp / np.maximum(either, 1), 1.0)

    def dice_at(self, threshold: float) -> float:
        """Return the Dice where foreground is probability >= threshold (0 to 1)."""
        return float(self.dice()[int(np.ceil(threshold * 255))])

    def best_threshold(self) -> float:
        """Return the threshold (0 to 1) nearest to 0.5 whose Dice is as good as the highest.

        Pooled over few slides, the highest Dice is a flat top on which chance chooses: `_AS_GOOD` lower
        counts as equal. The threshold lies half-way between two of the 256 stored probabilities: rounding
        cannot change its meaning.
        """
        dice = self.dice()[1:]
        good = np.flatnonzero(dice >= dice.max() - _AS_GOOD) + 0.5
        return float(good[np.abs(good - 127.5).argmin()]) / 255


def validate(
    network: UNet, slides: Sequence[LabelledSlide], loss: nn.Module, precision: Precision
) -> Validation:
    """Predict all validation slides as new slides are predicted, and count."""
    ready = for_inference(network)
    counts = np.zeros((2, 256), np.int64)
    weighted_loss, n_pixels = 0.0, 0
    for slide in slides:
        truth = open_label_store(slide.manifest, "truth")
        for tile, logits in predict_tiles(
            ready, open_image_store(slide.manifest), slide.normalisation, precision=precision
        ):
            target = truth[tile.write] > 0
            both = (torch.from_numpy(values)[None, None] for values in (logits, target.astype(np.float32)))
            weighted_loss += float(loss(*both)) * target.size
            n_pixels += target.size
            probability = to_uint8(logits)
            for side, where in enumerate((target, ~target)):
                counts[side] += np.bincount(probability[where], minlength=256)
    return Validation(weighted_loss / n_pixels, *counts)
