"""Random changes that MONAI has not, or not so: one zoom for both axes, light and photon noise.

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
"""Points to a side of a field of light."""

Sample = dict[str, Any]


class RandDeformd(RandomizableTransform):
    """Turn, zoom and bend half of the patches, in one resampling; cut out the middle of the others.

    Attributes
    ----------
    patch_size : int
        Side of the result.
    rotation : float
        Degrees to either side.
    zooms : (float, float)
        Least and largest zoom, drawn evenly in the logarithm; the same for both axes.
    elastic : float
        Largest displacement in px of points 48 px apart; bicubic between them.
    """

    def __init__(
        self, patch_size: int, *, rotation: float, zooms: tuple[float, float], elastic: float
    ) -> None:
        # Half of the patches: it is the dearest change, and pixels as they are must be seen too.
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
            # Beyond what was read is -1, ignored: mirrored, one cell would be two with one id.
            "labels": _resampled(data["labels"] + 1, places, "nearest", "zeros") - 1,
        }

    def _middle(self, values: torch.Tensor) -> torch.Tensor:
        top, left = ((side - self.patch_size) // 2 for side in values.shape[-2:])
        return values[:, top : top + self.patch_size, left : left + self.patch_size]

    def _places(self) -> torch.Tensor:
        """Draw where the pixels of the result come from: (y, x, 2), x first, in px from the middle."""
        angle = np.deg2rad(self.R.uniform(-self.rotation, self.rotation))
        zoom = np.exp(self.R.uniform(*np.log(self.zooms)))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
        side = torch.arange(self.patch_size, dtype=torch.float32) - (self.patch_size - 1) / 2
        places = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)
        places = places @ torch.from_numpy(turn.T.astype(np.float32))
        if self.elastic:
            points = self.patch_size // _SPACING + 2
            drawn = self.R.uniform(-self.elastic, self.elastic, (2, points, points))
            places = places + stretched(drawn, self.patch_size).permute(1, 2, 0)
        return places


class RandImaged(RandomizableTransform):
    """Change the image of some samples; what stands beside it stays as it is.

    Attributes
    ----------
    strength : float
        What it means, the class says.
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
    """Light that is uneven: the image times one smooth field, and another one added as haze.

    The strength is the largest logarithm of the factor, and the largest haze in normalised intensity.
    """

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        factor = stretched(self.R.uniform(-1, 1, (1, SMOOTH, SMOOTH)), image.shape[-1])
        haze = stretched(self.R.uniform(0, 1, (1, SMOOTH, SMOOTH)), image.shape[-1])
        return image * torch.exp(self.strength * factor) + self.strength * self.R.uniform() * haze


class RandDarkend(RandImaged):
    """Cells darker than their slide's brightest pixels by far, as beside debris or cells that die.

    The strength is the largest logarithm of the factor by which the normalised intensities are divided.
    """

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        return image * float(np.exp(-self.R.uniform(0, self.strength)))


class RandInvertd(RandImaged):
    """Bright becomes dark; the normalised range is about [0, 1]."""

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        return 1.0 - image


class RandShotNoised(RandImaged):
    """Photon noise: its variance grows with the intensity (the normal limit of Poisson's law).

    The strength is the largest standard deviation where the normalised intensity is 1.
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


def stretched(points: np.ndarray, side: int) -> torch.Tensor:
    """Interpolate random points (n, y, x) to (n, side, side), smoothly."""
    down, across = (_bicubic(count, side) for count in points.shape[1:])
    return torch.from_numpy((down @ points @ across.T).astype(np.float32))


@functools.lru_cache
def _bicubic(count: int, side: int) -> np.ndarray:
    """Return the weights (side, count) of evenly spaced points at the pixels from the first to the last."""
    # Interpolation is linear in the points: two small products do what resizing every field would do anew.
    single = torch.eye(count, dtype=torch.float64)[None, :, :, None]
    return interpolate(single, size=(side, 1), mode="bicubic", align_corners=True)[0, :, :, 0].numpy().T
