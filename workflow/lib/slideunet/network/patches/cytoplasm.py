"""Random glow of cytoplasm around bright nuclei: stain outside the nucleus is not a nucleus."""

import numpy as np
import torch
from torch.nn import functional

from slideunet.network.patches.targets import IGNORE_TARGET

_PROBABILITY = 0.4
_COARSE = 4  # The bodies of cells are drawn on a grid of this many px.
_REACHES = (8.0, 40.0)  # Range of the Gaussian's standard deviation around the nuclei, in px.
_LEVELS = (0.1, 0.5)  # Range of the blurred nuclei above which there is a cell, over their maximum.
_STEEPNESS = (8.0, 60.0)  # Range from a faded to a sharp edge.


def add_cytoplasm(
    images: torch.Tensor,
    foreground: torch.Tensor,
    strength: float,
    rng: np.random.Generator,
    noise: torch.Generator,
) -> torch.Tensor:
    """Add to some images a glow of irregular, textured bodies around their nuclei.

    Parameters
    ----------
    images : tensor (n, c, y, x)
        Normalised, bright nuclei; float32.
    foreground : tensor (n, y, x)
        1 inside nuclei, 0 outside, `IGNORE_TARGET` where unknown.
    strength : float
        Largest brightness of the glow, as a share of the nuclei's contrast; 0 changes nothing.
    rng : Generator
        For numbers of a whole image.
    noise : torch.Generator
        For the shapes and textures, on the device.
    """
    if not strength:
        return images
    images = images.clone()
    inside, outside = (foreground == 1).float(), (foreground == 0).float()
    for i in np.flatnonzero(rng.random(len(images)) < _PROBABILITY).tolist():
        amplitude = rng.uniform(0.1, 1) * strength
        body = _bodies(inside[i], rng, noise)
        contrast = _contrast(images[i], inside[i], outside[i])
        images[i] += amplitude * contrast[:, None, None] * body
    return images


def _contrast(image: torch.Tensor, inside: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
    """Return how much brighter each channel is inside; 0 if darker, or if either is empty.

    Nothing is read back from the device: a step would wait for it.
    """
    (within, light), (around, dark) = (
        (area.sum(), (image * area).sum(dim=(1, 2)) / area.sum().clamp(min=1)) for area in (inside, outside)
    )
    return (light - dark).clamp(min=0.0) * ((within > 0) & (around > 0))


def _bodies(inside: torch.Tensor, rng: np.random.Generator, noise: torch.Generator) -> torch.Tensor:
    """Return the brightness (y, x) of cells around nuclei, 0 to about 1, zero far from every nucleus."""
    height, width = inside.shape
    coarse = functional.interpolate(
        inside[None, None], (-(-height // _COARSE), -(-width // _COARSE)), mode="area"
    )
    reach = float(np.exp(rng.uniform(*np.log(_REACHES))))
    around = _blurred(coarse, reach / _COARSE)
    around = around / around.amax().clamp(min=1e-6)
    # Cells are not centred at their nuclei.
    shift = np.rint(rng.normal(0, 0.5 * reach / _COARSE, 2)).astype(int).clip(-8, 8)
    around = _shifted(around, *shift.tolist())
    shape = tuple(coarse.shape[2:])
    outline = around * (1 + 0.4 * _smooth_noise(shape, max(1.5 * reach / _COARSE, 4), noise))
    level, steepness = rng.uniform(*_LEVELS), np.exp(rng.uniform(*np.log(_STEEPNESS)))
    body = torch.sigmoid(steepness * (outline - level)) * (around > 0.02)
    each = 0.6 + 0.4 * _smooth_noise(shape, 2 * reach / _COARSE, noise).clamp(-1, 1)
    fine = functional.interpolate(body * each, (height, width), mode="bilinear")[0, 0]
    texture = _smooth_noise((height, width), float(rng.uniform(2, 10)), noise)[0, 0]
    return fine * (1 + rng.uniform(0, 0.25) * texture).clamp(0, 2)


def _blurred(plane: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = int(np.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=plane.device)
    kernel = torch.softmax(-(steps**2) / (2 * sigma**2), dim=0)
    rows = functional.conv2d(plane, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, reach))


def _shifted(plane: torch.Tensor, down: int, right: int) -> torch.Tensor:
    height, width = plane.shape[2:]
    most = max(abs(down), abs(right))
    padded = functional.pad(plane, (most,) * 4)
    return padded[..., most - down : most - down + height, most - right : most - right + width]


def _smooth_noise(shape: tuple[int, ...], spacing: float, noise: torch.Generator) -> torch.Tensor:
    """Draw noise of standard deviation near 1 whose structures are `spacing` px wide."""
    points = [max(round(side / spacing), 2) for side in shape]
    drawn = torch.randn((1, 1, *points), generator=noise, device=noise.device)
    return functional.interpolate(drawn, shape, mode="bicubic", align_corners=True)


def known_foreground(labels: torch.Tensor) -> torch.Tensor:
    """Return 1 for labels above 0, 0 for the background and `IGNORE_TARGET` for negative labels."""
    return torch.where(labels < 0, IGNORE_TARGET, (labels > 0).float())
