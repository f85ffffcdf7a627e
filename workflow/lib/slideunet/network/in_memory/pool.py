"""All images of a training in the memory of the device, their pixels concatenated on one axis."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from slideunet.errors import InputError
from slideunet.network.in_memory.archive import Entry
from slideunet.network.in_memory.prepared import FARTHEST, Prepared, pyramid
from slideunet.network.patches.empty_fields import empty_field

NEGATIVE = "negative"
"""Source of synthetic patches without any cell."""
_FIELD = 384  # Side of such an image in px.


@dataclass(frozen=True)
class PoolIndex:
    """Metadata for drawing patches; arrays with one entry per image.

    Attributes
    ----------
    sources, strata : tuple of str
    sizes : ndarray (n, 2)
        Height and width in px.
    diameters : ndarray (n,)
        Median diameter of the cells in px; for images without cells the median of all other images.
    centres : tuple of ndarray (cells, 2)
        Centres of the cells, (y, x) in px.
    """

    sources: tuple[str, ...]
    strata: tuple[str, ...]
    sizes: np.ndarray
    diameters: np.ndarray
    centres: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Pool:
    """All images as tensors on one device.

    Attributes
    ----------
    planes : (pixels of all levels of all images, c + 2) float16
        See `Prepared.levels`.
    labels : (pixels of all images,) int32
        Rows of `cells`; 0 = background, -1 = ignored.
    origins : (images, levels) int64
        Row of `planes` at which a level begins.
    sizes : (images, levels, 2) int64
        Height and width of a level.
    label_origins : (images,) int64
    cells : (1 + cells of all images, 4) float32
        See `Prepared.cells`; row 0 is the background.
    index : PoolIndex
    """

    planes: torch.Tensor
    labels: torch.Tensor
    origins: torch.Tensor
    sizes: torch.Tensor
    label_origins: torch.Tensor
    cells: torch.Tensor
    index: PoolIndex

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.planes.shape[1] - 2


def build_pool(images: Sequence[Prepared], device: torch.device) -> Pool:
    """Concatenate images in the memory of a device.

    Raises
    ------
    InputError
        When there are more pixels than 32 bits can count.
    """
    sizes = np.array([[level.shape[:2] for level in image.levels] for image in images], np.int64)
    pixels = sizes.prod(axis=2)
    if pixels.sum() >= 2**31:
        raise InputError(
            f"{len(images)} images have {pixels.sum():,} pixels with their smaller copies. A training "
            "in memory can index 2^31. Train on fewer images, or by the workflow, which reads from disk."
        )
    cells = [np.zeros((1, 4), np.float32), *(image.cells for image in images)]
    first = np.cumsum([0, *(len(image.cells) for image in images)])[:-1]
    labels = [
        np.where(image.labels > 0, image.labels + before, image.labels).ravel().astype(np.int32)
        for image, before in zip(images, first, strict=True)
    ]
    planes = [level.reshape(-1, level.shape[2]) for image in images for level in image.levels]

    def moved(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    return Pool(
        planes=moved(np.concatenate(planes)),
        labels=moved(np.concatenate(labels)),
        origins=moved(_starts(pixels.ravel()).reshape(pixels.shape)),
        sizes=moved(sizes),
        label_origins=moved(_starts(pixels[:, 0])),
        cells=moved(np.concatenate(cells)),
        index=_index(images),
    )


def drawn_negatives(channels: int, count: int, seed: int) -> list[Prepared]:
    """Draw images without any cell for negative patches; see `empty_fields`."""
    return [_negative(channels, np.random.default_rng((seed, number))) for number in range(count)]


def _negative(channels: int, rng: np.random.Generator) -> Prepared:
    field = empty_field((channels, _FIELD, _FIELD), rng).transpose(1, 2, 0)
    planes = [np.zeros((_FIELD, _FIELD, 1)), np.full((_FIELD, _FIELD, 1), FARTHEST)]
    # Bright specks may exceed the range of float16.
    full = np.concatenate([field, *planes], axis=2).clip(-6e4, 6e4)
    entry = Entry("", NEGATIVE, "", "", "", "train", False, "", "")
    return Prepared(entry, pyramid(full), np.zeros((_FIELD, _FIELD), np.int32), np.zeros((0, 4), np.float32))


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.array([0, *itertools.accumulate(lengths.tolist())][:-1], np.int64)


def _index(images: Sequence[Prepared]) -> PoolIndex:
    diameters = [image.diameter for image in images if image.diameter is not None]
    usual = float(np.median(diameters)) if diameters else 1.0
    return PoolIndex(
        sources=tuple(image.entry.source for image in images),
        strata=tuple(image.entry.stratum for image in images),
        sizes=np.array([image.labels.shape for image in images]),
        diameters=np.array([image.diameter or usual for image in images]),
        centres=tuple(image.cells[:, :2] for image in images),
    )
