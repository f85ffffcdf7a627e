"""Random intensity changes of a batch of images on its device; strengths as in `augmentation`.

Random numbers of a whole patch are drawn with NumPy, noise with torch on the device.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skimage.color import hed_from_rgb, rgb_from_hed
from torch.nn import functional

from slideunet.network.patches.stain_transforms import optical_density, stained
from slideunet.network.patches.transforms import SMOOTH

_REACH = 4  # Radius of a Gaussian kernel in standard deviations.


@dataclass(frozen=True)
class Chance:
    """Random number generators: `rng` for numbers of a patch, `noise` for pixels."""

    rng: np.random.Generator
    noise: torch.Generator

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw a few uniform numbers with NumPy and upload them."""
        drawn = torch.from_numpy(self.rng.uniform(low, high, shape).astype(np.float32))
        return _on(drawn, self.noise.device)

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw many normal numbers on the device."""
        return torch.randn(shape, generator=self.noise, device=self.noise.device)


Change = Callable[[torch.Tensor, float, Chance], torch.Tensor]


def change_intensities(images: torch.Tensor, strengths: Mapping[str, Any], chance: Chance) -> torch.Tensor:
    """Change images (n, c, y, x), normalised, float32.

    Parameters
    ----------
    images : tensor
    strengths : mapping
        Strengths of the changes, 0 switches one off; see `network.patches.augmentation.build_augmentation`.
    chance : Chance
    """
    images = images.clone()
    for name, (probability, change) in _CHANGES.items():
        strength = strengths[name]
        share = strength if name == "invert" else probability
        chosen = np.flatnonzero(chance.rng.random(len(images)) < share) if strength else ()
        if len(chosen):
            which = _on(torch.as_tensor(chosen), images.device)
            images[which] = change(images[which], strength, chance)
    return images


def _on(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _stain(images: torch.Tensor, share: float, chance: Chance) -> torch.Tensor:
    changes = share * chance.rng.uniform(-1, 1, (len(images), 2, 3))
    mix = hed_from_rgb @ ((1 + changes[:, 0, :, None]) * rgb_from_hed)
    tint = changes[:, 1] @ rgb_from_hed
    mixes, tints = (_on(torch.from_numpy(a.astype(np.float32)), images.device) for a in (mix, tint))
    return stained(torch.einsum("niyx,nij->njyx", optical_density(images), mixes) + tints[:, :, None, None])


def _counterstain(images: torch.Tensor, density: float, chance: Chance) -> torch.Tensor:
    n, _, height, width = images.shape
    # Noise smoothed by up to 12 px along each axis: drawn on a coarse grid of one point per sigma.
    textures = []
    for sigmas in 12.0 ** chance.rng.uniform(0, 1, (n, 2)):
        points = [max(round(side / sigma), 2) for side, sigma in zip((height, width), sigmas, strict=True)]
        coarse = chance.normal((1, 1, *points))
        textures.append(functional.interpolate(coarse, (height, width), mode="bicubic")[0])
    noise = torch.stack(textures)
    texture = chance.uniform(0, density, (n, 1, 1, 1)) * (noise / noise.std(dim=(2, 3), keepdim=True)).relu()
    eosin = torch.from_numpy(rgb_from_hed[1].astype(np.float32)).to(images.device)
    colour = eosin.repeat(n, 1)
    colour[:, 2] += chance.uniform(0, 0.8, (n,))
    return stained(optical_density(images) + colour[:, :, None, None] * texture)


def _colour(images: torch.Tensor, strength: float, chance: Chance) -> torch.Tensor:
    channels = images.shape[1]
    drawn = np.eye(channels) + chance.rng.normal(0.0, strength, (len(images), channels, channels))
    return torch.einsum(
        "nij,njyx->niyx", _on(torch.from_numpy(drawn.astype(np.float32)), images.device), images
    )


def _blur(images: torch.Tensor, most: float, chance: Chance) -> torch.Tensor:
    n, channels, height, width = images.shape
    reach = max(int(np.ceil(_REACH * most)), 1)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    flat = images.reshape(1, n * channels, height, width)
    for axis in (0, 1):
        sigmas = chance.uniform(0.05 * most, most, (n, 1))
        kernel = torch.softmax(-(steps**2) / (2 * sigmas**2), dim=1).repeat_interleave(channels, dim=0)
        shape = (n * channels, 1, -1, 1) if axis == 0 else (n * channels, 1, 1, -1)
        sides = (0, 0, reach, reach) if axis == 0 else (reach, reach, 0, 0)
        padded = functional.pad(flat, sides, mode="reflect")
        flat = functional.conv2d(padded, kernel.view(shape), groups=n * channels)
    return flat.view(n, channels, height, width)


def _gamma(images: torch.Tensor, log: float, chance: Chance) -> torch.Tensor:
    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    width = (high - low).clamp(min=1e-7)
    # As in MONAI: above or below 1 with equal probability, uniform within each.
    exponents = chance.rng.uniform(0, 1, (len(images), 1, 1, 1))
    above = chance.rng.random((len(images), 1, 1, 1)) < 0.5
    drawn = np.where(above, 1 + exponents * (np.exp(log) - 1), np.exp(-log) + exponents * (1 - np.exp(-log)))
    power = _on(torch.from_numpy(drawn.astype(np.float32)), images.device)
    return ((images - low) / width).pow(power) * width + low


def _illumination(images: torch.Tensor, strength: float, chance: Chance) -> torch.Tensor:
    n, _, height, width = images.shape
    points = torch.cat(
        [chance.uniform(-1, 1, (n, 1, SMOOTH, SMOOTH)), chance.uniform(0, 1, (n, 1, SMOOTH, SMOOTH))], dim=1
    )
    fields = functional.interpolate(points, (height, width), mode="bicubic", align_corners=True)
    haze = strength * chance.uniform(0, 1, (n, 1, 1, 1)) * fields[:, 1:]
    return images * torch.exp(strength * fields[:, :1]) + haze


def _contrast(images: torch.Tensor, share: float, chance: Chance) -> torch.Tensor:
    return images * (1 + chance.uniform(-share, share, (len(images), 1, 1, 1)))


def _brightness(images: torch.Tensor, share: float, chance: Chance) -> torch.Tensor:
    return images + chance.uniform(-share, share, (len(images), 1, 1, 1))


def _invert(images: torch.Tensor, probability: float, chance: Chance) -> torch.Tensor:
    del probability, chance
    return 1.0 - images


def _shot_noise(images: torch.Tensor, most: float, chance: Chance) -> torch.Tensor:
    std = chance.uniform(0, most, (len(images), 1, 1, 1))
    return images + std * images.clamp(min=0.0).sqrt() * chance.normal(tuple(images.shape))


def _noise(images: torch.Tensor, most: float, chance: Chance) -> torch.Tensor:
    return images + chance.uniform(0, most, (len(images), 1, 1, 1)) * chance.normal(tuple(images.shape))


def _darken(images: torch.Tensor, log: float, chance: Chance) -> torch.Tensor:
    return images * torch.exp(-chance.uniform(0, log, (len(images), 1, 1, 1)))


# Applied in this order, each to a patch with this probability.
_CHANGES: dict[str, tuple[float, Change]] = {
    "stain": (0.5, _stain),
    "counterstain": (0.5, _counterstain),
    "colour": (0.5, _colour),
    "blur": (0.2, _blur),
    "gamma": (0.3, _gamma),
    "illumination": (0.3, _illumination),
    "contrast": (0.5, _contrast),
    "brightness": (0.5, _brightness),
    "invert": (1.0, _invert),
    "shot_noise": (0.2, _shot_noise),
    "noise": (0.3, _noise),
    "darkening": (0.3, _darken),
}
