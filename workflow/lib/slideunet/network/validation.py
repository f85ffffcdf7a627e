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


@dataclass(frozen=True)
class Validation:
    """The loss, and how many foreground and background pixels got each of the 256 probabilities."""

    loss: float
    foreground: np.ndarray
    background: np.ndarray

    def dice(self) -> np.ndarray:
        """Return the pooled Dice of every threshold t = 0..255 (foreground where probability >= t)."""
        tp = self.foreground[::-1].cumsum()[::-1]
        fp = self.background[::-1].cumsum()[::-1]
        fn = self.foreground.sum() - tp
        return 2 * tp / np.maximum(2 * tp + fp + fn, 1)

    def dice_at(self, threshold: float) -> float:
        """Return the pooled Dice where foreground is probability >= threshold (0 to 1)."""
        return float(self.dice()[int(np.ceil(threshold * 255))])

    def best_threshold(self) -> float:
        """Return the threshold (0 to 1) of the highest pooled Dice, the middle one of equals.

        It lies half-way between two of the 256 stored probabilities: rounding cannot change its meaning.
        """
        dice = self.dice()[1:]
        best = np.flatnonzero(dice >= dice.max() - 1e-6) + 1
        return (float(best[len(best) // 2]) - 0.5) / 255


def validate(
    network: UNet, slides: Sequence[LabelledSlide], loss: nn.Module, precision: Precision
) -> Validation:
    """Predict all validation slides and count.

    Pixels are pooled over slides: the mean over images favours thresholds that suit the emptiest ones.
    """
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
            for row, where in enumerate((target, ~target)):
                counts[row] += np.bincount(probability[where], minlength=256)
    return Validation(weighted_loss / n_pixels, *counts)
