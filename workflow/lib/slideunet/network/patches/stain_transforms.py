"""Colour and stain augmentation, as random transforms of MONAI."""

import numpy as np
import torch
from scipy import ndimage as ndi
from skimage.color import hed_from_rgb, rgb_from_hed

from slideunet.network.patches.transforms import RandImaged

_DARKEST = 0.2  # transmitted fraction of light where a normalised stained image is 1


class RandColourd(RandImaged):
    """Colour jitter by mixing channels: other hues and strengths; a single channel changes its gain.

    The strength is the standard deviation of the matrix (c, c) about the identity.
    """

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        channels = image.shape[0]
        mix = np.eye(channels) + self.R.normal(0.0, self.strength, (channels, channels))
        return torch.einsum("ij,jyx->iyx", torch.from_numpy(mix.astype(np.float32)), image)


class RandStaind(RandImaged):
    """Stain augmentation: independent changes of haematoxylin, eosin and the residual (Tellez et al. 2018).

    The image is RGB and normalised so that glass is 0. Optical density is separated into the stains of
    Ruifrok & Johnston (2001); each is multiplied by up to 1 +- the strength, and up to +- the
    strength is added to it, as in doi:10.1109/TMI.2018.2820199.
    """

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        changes = self.strength * self.R.uniform(-1, 1, (2, 3))
        mix = hed_from_rgb @ np.diag(1 + changes[0]) @ rgb_from_hed
        tint = changes[1] @ rgb_from_hed
        density = torch.einsum(
            "iyx,ij->jyx", optical_density(image), torch.from_numpy(mix.astype(np.float32))
        )
        return stained(density + torch.from_numpy(tint.astype(np.float32))[:, None, None])


class RandCounterstaind(RandImaged):
    """Synthetic eosin texture without nuclei, such as collagen, muscle and blood.

    The image is as for `RandStaind`. Added to its optical density is the positive part of noise, smoothed
    along the axes by up to 12 px, times the colour of eosin with some absorption of blue. The strength is the
    maximum standard deviation of the noise.
    """

    def _changed(self, image: torch.Tensor) -> torch.Tensor:
        sigmas = 12.0 ** self.R.uniform(0, 1, 2)
        noise = ndi.gaussian_filter(self.R.standard_normal(image.shape[1:]), sigmas, mode="reflect")
        texture = self.R.uniform(0, self.strength) * np.maximum(noise / noise.std(), 0)
        colour = rgb_from_hed[1] + [0, 0, self.R.uniform(0, 0.8)]
        added = colour[:, None, None] * texture
        return stained(optical_density(image) + torch.from_numpy(added.astype(np.float32)))


def optical_density(image: torch.Tensor) -> torch.Tensor:
    """Return the optical density (base e) of a normalised stained image; 0 is glass."""
    # The darkest pixels transmit some light: without any, stains cannot be separated.
    return -(1 - (1 - _DARKEST) * image).clamp(min=_DARKEST / 4).log()


def stained(density: torch.Tensor) -> torch.Tensor:
    """Return the normalised image of an optical density; the inverse of `optical_density`."""
    return (1 - torch.exp(-density)) / (1 - _DARKEST)
