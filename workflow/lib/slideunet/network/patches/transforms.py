"""Transforms missing from MONAI: one zoom for both axes, uneven illumination and photon noise.

All are MONAI's random transforms of a dict with "image" (c, y, x) and "labels" (1, y, x), both float32.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import RandomizableTransform
from torch.nn.functional import grid_sample, interpolate

_SPACING = 48  # px between the points of an elastic deformation
SMOOTH = 3
"""Points per side of a smooth field."""

Sample = dict[str, Any]


class RandDeformd(RandomizableTransform):
    """Rotate, zoom and deform half of the patches in one resampling; crop the middle of the others.

    Attributes
    ----------
    patch_size : int
        Side of the result.
    rotation : float
        Degrees in both directions.
    zooms : (float, float)
        Minimum and maximum zoom, log-uniform; the same for both axes.
    elastic : float
        Maximum displacement in px of points 48 px apart; bicubic between them.
    """

    def __init__(
        self, patch_size: int, *, rotation: float, zooms: tuple[float, float], elastic: float
    ) -> None:
        # Half of the patches: it is the slowest transform, and unchanged pixels must be seen too.
        super().__init__(prob=0.5 if rotation or elastic or zooms != (1.0, 1.0) else 0.0)
        self.patch_size = patch_size
        self.rotation, self.zooms, self.elastic = rotation, zooms, elastic

    def __call__(self, data: Mapping[str, torch.Tensor]) -> Sample:
        """Change image and labels together."""
        self.randomize(None)
        if not self._do_transform:
            return {name: self._middle(values) for name, values in data.items()}
        places = self._places()
        return {
            "image": _resampled(data["image"], places, "bilinear", "reflection"),
            # Pixels outside of the input are -1 (ignored): mirrored, one cell would be two with one id.
            "labels": _resampled(data["labels"] + 1, places, "nearest", "zeros") - 1,
        }

    def _middle(self, values: torch.Tensor) -> torch.Tensor:
        top, left = ((side - self.patch_size) // 2 for side in values.shape[-2:])
        return values[:, top : top + self.patch_size, left : left + self.patch_size]

    def _places(self) -> torch.Tensor:
        """Draw the source of each pixel of the result: (y, x, 2), x first, in px from the middle."""
        angle = np.deg2rad(self.R.uniform(-self.rotation, self.rotation))
        zoom = np.exp(self.R.uniform(*np.log(self.zooms)))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
        side = torch.arange(self.patch_size, dtype=torch.float32) - (self.patch_size - 1) / 2
        places = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)
        places = places @ torch.from_numpy(turn.T.astype(np.float32))
        if self.elastic:
            points = self.patch_size // _SPACING + 2
            drawn = self.R.uniform(-self.elastic, self.elastic, (2, points, points))
            places = places + interpolated(drawn, self.patch_size).permute(1, 2, 0)
        return places


class RandImaged(RandomizableTransform):
    """Change the image of some samples and nothing else.

    Attributes
    ----------
    strength : float
        See the subclasses.
    """

    def __init__(self, prob: float, strength: float = 1.0) -> None:
        super().__init__(prob=prob)
        self.strength = strength

    def __call__(self, data: Mapping[str, torch.Tensor]) -> Sample:
        """Change the image, or not."""
        self.randomize(None)
        return dict(data) | ({"image": self._changed(data["image"])} if self._do_transform else {})

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class RandIlluminationd(RandImaged):
    """Uneven illumination: the image times a smooth field, plus another one as haze.

    The strength is the maximum log factor, and the maximum haze in normalised intensity.
    """

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        factor = interpolated(self.R.uniform(-1, 1, (1, SMOOTH, SMOOTH)), image.shape[-1])
        haze = interpolated(self.R.uniform(0, 1, (1, SMOOTH, SMOOTH)), image.shape[-1])
        return image * torch.exp(self.strength * factor) + self.strength * self.R.uniform() * haze


class RandDarkend(RandImaged):
    """Random darkening, which simulates cells next to much brighter debris or dying cells.

    The strength is the maximum log of the factor by which the normalised intensities are divided.
    """

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        return image * float(np.exp(-self.R.uniform(0, self.strength)))


class RandInvertd(RandImaged):
    """Inverted intensities; the normalised range is about [0, 1]."""

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        return 1.0 - image


class RandShotNoised(RandImaged):
    """Photon noise with a variance proportional to the intensity (normal limit of the Poisson law).

    The strength is the maximum standard deviation at normalised intensity 1.
    """

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        drawn = self.R.standard_normal(tuple(image.shape)).astype(np.float32)
        std = self.R.uniform(0, self.strength)
        return image + std * image.clamp(min=0.0).sqrt() * torch.from_numpy(drawn)


def _resampled(values: torch.Tensor, places: torch.Tensor, mode: str, beyond: str) -> torch.Tensor:
    """Return values (c, y, x) at places in px from the middle; `beyond` the border by `grid_sample`."""
    height, width = values.shape[-2:]
    unit = torch.tensor([2.0 / width, 2.0 / height])
    return grid_sample(
        values[None], (places * unit)[None], mode=mode, padding_mode=beyond, align_corners=False
    )[0]


def interpolated(points: np.ndarray, side: int) -> torch.Tensor:
    """Interpolate random points (n, y, x) to (n, side, side), smoothly."""
    down, across = (_bicubic(count, side) for count in points.shape[1:])
    return torch.from_numpy((down @ points @ across.T).astype(np.float32))


@functools.lru_cache
def _bicubic(count: int, side: int) -> np.ndarray:
    """Return the weights (side, count) of evenly spaced points at the pixels from the first to the last."""
    # Interpolation is linear in the points: two small products replace resizing every field.
    single = torch.eye(count, dtype=torch.float64)[None, :, :, None]
    return interpolate(single, size=(side, 1), mode="bicubic", align_corners=True)[0, :, :, 0].numpy().T
