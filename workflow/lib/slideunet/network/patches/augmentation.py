"""Augmentation of training patches with MONAI; each sample has its own random stream.

The stream is fixed by (seed, epoch, sample): the same for any number of workers and after any restart.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai import transforms as mt
from monai.data import MetaTensor, set_track_meta

from slideunet.network.patches.stain_transforms import RandColourd, RandCounterstaind, RandStaind
from slideunet.network.patches.transforms import (
    RandDarkend,
    RandDeformd,
    RandIlluminationd,
    RandInvertd,
    RandShotNoised,
)

# Patches need no record of their transforms; keeping one takes a third of the time.
set_track_meta(False)

_IMAGE = ["image"]
_BOTH = ["image", "labels"]


def build_augmentation(strengths: Mapping[str, Any], patch_size: int) -> mt.Compose:
    """Compose the augmentation of one patch.

    Parameters
    ----------
    strengths : mapping
        flip (probability of each flip and of a quarter turn), rotation (degrees), scale (fraction, or minimum
        and maximum zoom), elastic (displacement in px on a grid of 48 px), invert (probability), colour
        (fraction of channel mixing), stain (fraction of change of the stains of RGB), counterstain (optical
        density), blur (sigma in px), brightness and contrast (fraction of the normalised range), gamma,
        illumination and darkening (log range), noise and shot_noise (standard deviation of the normalised
        image).
    patch_size : int
        Side of the result; a larger input is cropped to its middle, so that rotated corners show real pixels.

    Returns
    -------
    monai.transforms.Compose
        For a dict with "image" (c, y, x) float32 and "labels" (1, y, x) float32.
    """
    s = strengths

    both: list[mt.Transform] = [
        mt.RandFlipd(_BOTH, prob=s["flip"], spatial_axis=0),
        mt.RandFlipd(_BOTH, prob=s["flip"], spatial_axis=1),
        mt.RandRotate90d(_BOTH, prob=s["flip"], max_k=3),
        RandDeformd(patch_size, rotation=s["rotation"], zooms=_zooms(s["scale"]), elastic=s["elastic"]),
    ]
    # Disabled transforms are left out: seeding one takes as long as running many of them.
    return mt.Compose(both + [change(s[name]) for name, change in _OF_THE_IMAGE.items() if s[name]])


def _zooms(scale: float | Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest zoom."""
    if isinstance(scale, int | float):
        return 1 / (1 + scale), 1 + scale
    least, largest = scale
    return least, largest


_OF_THE_IMAGE: dict[str, Callable[[float], mt.Transform]] = {
    "stain": lambda share: RandStaind(0.5, share),
    "counterstain": lambda density: RandCounterstaind(0.5, density),
    "colour": lambda strength: RandColourd(0.5, strength),
    "blur": lambda sigma: mt.RandGaussianSmoothd(
        _IMAGE, prob=0.2, sigma_x=(0.0, sigma), sigma_y=(0.0, sigma)
    ),
    "gamma": lambda log: mt.RandAdjustContrastd(
        _IMAGE, prob=0.3, gamma=(float(np.exp(-log)), float(np.exp(log)))
    ),
    "illumination": lambda strength: RandIlluminationd(0.3, strength),
    "contrast": lambda share: mt.RandScaleIntensityd(_IMAGE, prob=0.5, factors=share),
    "brightness": lambda share: mt.RandShiftIntensityd(_IMAGE, prob=0.5, offsets=share),
    "invert": lambda probability: RandInvertd(probability),
    "shot_noise": lambda std: RandShotNoised(0.2, std),
    "noise": lambda std: mt.RandGaussianNoised(_IMAGE, prob=0.3, std=std),
    # Last, so that the noise is darkened too.
    "darkening": lambda log: RandDarkend(0.3, log),
}


def augment(
    augmentation: mt.Compose, image: np.ndarray, labels: np.ndarray, stream: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment one patch with the random stream `stream`.

    Parameters
    ----------
    augmentation : Compose
        From `build_augmentation`.
    image : (c, y, x) float32, normalised
    labels : (y, x) integers
        Below 2^24, the largest range of exact integers in float32.
    stream : tuple of int
        (seed, epoch, sample).

    Returns
    -------
    image (c, patch, patch) and labels (1, patch, patch), both float32.
    """
    # One generator for all: `Compose.set_random_state` creates one for each, which is slow.
    random = np.random.RandomState(np.random.SeedSequence(stream).generate_state(1)[0])
    for change in augmentation.transforms:
        change.set_random_state(state=random)
    sample: dict[str, Any] = {
        "image": torch.from_numpy(image),
        "labels": torch.from_numpy(labels[None].astype(np.float32)),
    }
    changed: Any = augmentation(sample)
    return _plain(changed["image"]), _plain(changed["labels"])


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
