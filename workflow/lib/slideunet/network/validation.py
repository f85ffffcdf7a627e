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
    """The loss, and how many foreground and background pixels got each probability.

    Attributes
    ----------
    loss : float
        Mean over pixels.
    foreground, background : ndarray (slides, 256) of int64
        Pixels of each slide by their stored probability.
    """

    loss: float
    foreground: np.ndarray
    background: np.ndarray

    def pooled_dice(self, threshold: float) -> float:
        """Return the Dice of all pixels together where foreground is probability >= threshold (0 to 1)."""
        pooled = _dice(self.foreground.sum(axis=0), self.background.sum(axis=0))
        return float(pooled[int(np.ceil(threshold * 255))])

    def best_threshold(self) -> float:
        """Return the threshold (0 to 1) of the highest mean Dice of the slides, the middle one of equals.

        The mean over slides is what the report leads with. The threshold lies half-way between two of the 256
        stored probabilities: rounding cannot change its meaning.
        """
        mean = _dice(self.foreground, self.background).mean(axis=0)[1:]
        best = np.flatnonzero(mean >= mean.max() - 1e-6) + 1
        return (float(best[len(best) // 2]) - 0.5) / 255


def validate(
    network: UNet, slides: Sequence[LabelledSlide], loss: nn.Module, precision: Precision
) -> Validation:
    """Predict all validation slides as new slides are predicted, and count."""
    ready = for_inference(network)
    counts = np.zeros((2, len(slides), 256), np.int64)
    weighted_loss, n_pixels = 0.0, 0
    for number, slide in enumerate(slides):
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
                counts[side, number] += np.bincount(probability[where], minlength=256)
    return Validation(weighted_loss / n_pixels, *counts)


def _dice(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the Dice (..., 256) of every threshold 0..255; 1 where there is neither truth nor prediction."""
    tp, fp = (counts[..., ::-1].cumsum(axis=-1)[..., ::-1] for counts in (foreground, background))
    either = foreground.sum(axis=-1, keepdims=True) + tp + fp
    return np.where(either > 0, 2 * tp / np.maximum(either, 1), 1.0)
