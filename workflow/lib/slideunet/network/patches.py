"""Training samples: random patches of the training slides, read from their stores when they are needed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from slideunet.images.normalisation import Normalisation
from slideunet.images.stores import StoredPixels, open_image_store, open_label_store
from slideunet.images.windows import read_mirrored
from slideunet.network.augmentation import augment, build_augmentation
from slideunet.network.targets import cell_targets

_MARGIN = 1.25  # Read more than the patch, so that rotation and scaling find real pixels at the corners.


@dataclass(frozen=True)
class LabelledSlide:
    """A slide with truth, as training and validation need it."""

    manifest: Path
    shape: tuple[int, int]
    normalisation: Normalisation


class PatchDataset(Dataset):
    """Patches of all slides, each at a random place.

    A key is (epoch, sample): the patch it stands for depends on nothing else, so any number of worker
    processes and any restart give the same training.
    """

    def __init__(
        self,
        slides: Sequence[LabelledSlide],
        patch_size: int,
        strengths: Mapping[str, float],
        seed: int,
        maps: Sequence[str] = ("foreground",),
    ) -> None:
        self.slides = slides
        self.maps = maps
        self.patch_size = patch_size
        self.seed = seed
        self.augmentation = build_augmentation(strengths, patch_size)
        self.opened: dict[Path, tuple[StoredPixels, StoredPixels]] = {}
        # The index of the slide of each sample.
        self.owners = [i for i, slide in enumerate(slides) for _ in range(_patches(slide.shape, patch_size))]

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image (c, patch, patch) and targets (see `cell_targets`), both float32."""
        epoch, sample = key
        slide = self.slides[self.owners[sample]]
        rng = np.random.default_rng((self.seed, epoch, sample))
        window = _window(slide.shape, self.patch_size, rng)
        pixels, truth = self._stores(slide.manifest)
        image = slide.normalisation.apply(read_mirrored(pixels, window))
        labels = read_mirrored(truth, window)
        changed, changed_labels = augment(self.augmentation, image, labels, (self.seed, epoch, sample))
        return changed, torch.from_numpy(cell_targets(changed_labels[0].numpy(), self.maps))

    def _stores(self, manifest: Path) -> tuple[StoredPixels, StoredPixels]:
        """Open image and truth of a slide once: opening counts its chunks, which may be many."""
        if manifest not in self.opened:
            self.opened[manifest] = (open_image_store(manifest), open_label_store(manifest, "truth"))
        return self.opened[manifest]


class BatchSampler(Sampler):
    """The keys of all batches of some epochs, each epoch shuffled by (seed, epoch)."""

    def __init__(self, n_samples: int, batch_size: int, seed: int, epochs: range) -> None:
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.seed = seed
        self.epochs = epochs

    def __len__(self) -> int:
        return len(self.epochs) * -(-self.n_samples // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch in self.epochs:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.n_samples)
            for start in range(0, self.n_samples, self.batch_size):
                yield [(epoch, int(sample)) for sample in order[start : start + self.batch_size]]


def batches(dataset: PatchDataset, batch_size: int, epochs: range, workers: int) -> DataLoader:
    """Return all batches of some epochs in turn: images (n, c, y, x) and targets (n, maps, y, x).

    One loader serves all epochs, so that its processes start once and go on while an epoch is validated.
    """
    return DataLoader(
        dataset,
        batch_sampler=BatchSampler(len(dataset), batch_size, dataset.seed, epochs),
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
    )


def _patches(shape: tuple[int, int], patch_size: int) -> int:
    """Return how many patches of a slide make an epoch: the square root of how many would cover it.

    One patch per patch area would let a few large slides drown many small ones.
    """
    return math.ceil(math.sqrt(shape[0] * shape[1]) / patch_size)


def _window(
    shape: tuple[int, int], patch_size: int, rng: np.random.Generator
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose where to read: a random place, or the middle of a side that is shorter than a patch."""
    margin = int(patch_size * (_MARGIN - 1)) // 2
    spans = []
    for side in shape:
        spare = side - patch_size
        start = int(rng.integers(0, spare + 1)) if spare > 0 else spare // 2
        spans.append((start - margin, start + patch_size + margin))
    return spans[0], spans[1]
