"""Random changes of a training patch, by MONAI; each sample has a random stream of its own.

The stream is fixed by (seed, epoch, sample): the same for any number of workers and after any restart.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai import transforms as mt
from monai.data import MetaTensor, set_track_meta

# Patches need no record of the transforms they went through, and keeping it takes a third of the time.
set_track_meta(False)

_IMAGE = ["image"]
_BOTH = ["image", "labels"]


def build_augmentation(strengths: Mapping[str, float], patch_size: int) -> mt.Compose:
    """Compose the augmentation of one patch.

    Parameters
    ----------
    strengths : mapping
        flip (probability of each mirror and of a quarter turn), rotation (degrees), scale (share), elastic
        (displacement in px on a grid of 48 px), noise (standard deviation of the normalised image), blur
        (sigma in px), brightness and contrast (share of the normalised range), gamma (log range).
    patch_size : int
        Side of the result; a larger input is cut to its middle, so that turned corners show real pixels.

    Returns
    -------
    monai.transforms.Compose
        Of a dict with "image" (c, y, x) float32 and "labels" (1, y, x) float32.
    """
    s = strengths
    return mt.Compose(
        [
            mt.RandFlipd(_BOTH, prob=s["flip"], spatial_axis=0),
            mt.RandFlipd(_BOTH, prob=s["flip"], spatial_axis=1),
            mt.RandRotate90d(_BOTH, prob=s["flip"], max_k=3),
            mt.Rand2DElasticd(
                _BOTH,
                # Half of the patches: it is the dearest change, and shapes as they are must be seen too.
                prob=0.5 if s["rotation"] or s["scale"] or s["elastic"] else 0.0,
                spacing=(48, 48),
                magnitude_range=(0.0, s["elastic"]),
                rotate_range=np.deg2rad(s["rotation"]),
                scale_range=s["scale"],
                spatial_size=(patch_size, patch_size),
                mode=["bilinear", "nearest"],
                padding_mode="reflection",
            ),
            mt.RandGaussianSmoothd(
                _IMAGE, prob=0.2 if s["blur"] else 0.0, sigma_x=(0.0, s["blur"]), sigma_y=(0.0, s["blur"])
            ),
            mt.RandAdjustContrastd(_IMAGE, prob=0.3 if s["gamma"] else 0.0, gamma=_log_range(s["gamma"])),
            mt.RandScaleIntensityd(_IMAGE, prob=0.5 if s["contrast"] else 0.0, factors=s["contrast"]),
            mt.RandShiftIntensityd(_IMAGE, prob=0.5 if s["brightness"] else 0.0, offsets=s["brightness"]),
            mt.RandGaussianNoised(_IMAGE, prob=0.3 if s["noise"] else 0.0, std=s["noise"]),
        ]
    )


def augment(
    augmentation: mt.Compose, image: np.ndarray, labels: np.ndarray, stream: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change one patch by the random stream that `stream` names.

    Parameters
    ----------
    augmentation : Compose
        From `build_augmentation`.
    image : (c, y, x) float32, normalised
    labels : (y, x) integers
    stream : tuple of int
        (seed, epoch, sample).

    Returns
    -------
    image (c, patch, patch) and labels (1, patch, patch), both float32.
    """
    seed = int(np.random.SeedSequence(stream).generate_state(1)[0])
    augmentation.set_random_state(seed=seed)
    sample: dict[str, Any] = {
        "image": torch.from_numpy(image),
        "labels": torch.from_numpy(labels[None].astype(np.float32)),
    }
    changed: Any = augmentation(sample)
    return _plain(changed["image"]), _plain(changed["labels"])


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _log_range(gamma: float) -> tuple[float, float]:
    return float(np.exp(-gamma)), float(np.exp(gamma))
