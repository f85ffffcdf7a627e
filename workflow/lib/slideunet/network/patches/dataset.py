"""Training samples: random patches of the training slides, read when they are needed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from slideunet.geometry.pixels import Pixels
from slideunet.geometry.windows import read_filled, read_mirrored
from slideunet.network.patches.annotated import annotated_spots
from slideunet.network.patches.augmentation import augment, build_augmentation
from slideunet.network.patches.copy_paste import paste_cells
from slideunet.network.patches.empty_fields import empty_field
from slideunet.network.patches.memory_maps import open_slide
from slideunet.network.patches.targets import cell_targets, compact
from slideunet.slides.normalisation import Normalisation
from slideunet.truth.ignore_label import IGNORE_LABEL, foreground_and_valid

_MARGIN = 1.25  # Read more than the patch, so that rotated and scaled corners show real pixels.


@dataclass(frozen=True)
class LabelledSlide:
    """A labelled slide for training or validation."""

    manifest: Path
    shape: tuple[int, int]
    normalisation: Normalisation
    stratum: str = ""


class PatchDataset(Dataset):
    """Patches of all slides, each at a random place.

    A key is (epoch, sample): its patch depends on nothing else, so any number of worker processes and any
    restart give the same training. An epoch has at least `least` patches, with few slides by drawing more
    from each. Slides of rare strata are oversampled by `balance`, see `_balanced`.
    """

    def __init__(
        self,
        slides: Sequence[LabelledSlide],
        patch_size: int,
        strengths: Mapping[str, Any],
        seed: int,
        maps: Sequence[str] = ("foreground",),
        *,
        border: bool = False,
        least: int = 1,
        balance: float = 0.0,
        packed: Path | None = None,
    ) -> None:
        self.slides = slides
        self.maps = maps
        self.border = border
        self.patch_size = patch_size
        self.seed = seed
        self.negatives, self.copy_paste = strengths["negatives"], strengths["copy_paste"]
        self.augmentation = build_augmentation(strengths, patch_size)
        self.packed = packed
        self.opened: dict[Path, tuple[Pixels, Pixels]] = {}
        self.middles: dict[Path, np.ndarray | None] = {}
        # The index of the slide of each sample.
        areal = [i for i, slide in enumerate(slides) for _ in range(_patches(slide.shape, patch_size))]
        once = _balanced(areal, [slide.stratum for slide in slides], balance)
        self.owners = once * -(-least // len(once))

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image (c, patch, patch) and targets (see `cell_targets`), both float32."""
        epoch, sample = key
        slide = self.slides[self.owners[sample]]
        rng = np.random.default_rng((self.seed, epoch, sample))
        image, labels = (
            self._negative(slide, rng) if rng.random() < self.negatives else self._positive(slide, rng)
        )
        # Transforms use float32, which is exact for smaller ids only.
        labels = compact(labels) if labels.max() >= 2**24 else labels
        changed, changed_labels = augment(self.augmentation, image, labels, (self.seed, epoch, sample))
        target = cell_targets(changed_labels[0].numpy(), self.maps, border=self.border)
        return changed, torch.from_numpy(target)

    def _positive(self, slide: LabelledSlide, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw a patch of a slide, sometimes with pasted cells of another patch.

        Half of them are of the same slide: cells as bright as their neighbours are harder to separate.
        """
        image, labels = self._draw(slide, rng)
        if not self.copy_paste or rng.random() >= self.copy_paste:
            return image, labels
        other = slide if rng.random() < 0.5 else self.slides[int(rng.integers(len(self.slides)))]
        return paste_cells(image, labels, *self._draw(other, rng), rng)

    def _draw(self, slide: LabelledSlide, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Read a normalised random patch; a patch without cells is drawn again, once, so that few are seen.

        The middle of a patch is annotated: in a slide of which a region was corrected, few others would be.
        Beyond the border the slide is mirrored, as in prediction. The truth is ignored there: a cell and its
        mirror image would be one cell of two pieces.
        """
        pixels, truth = self._pixels(slide.manifest)
        middles = self._middles(slide.manifest)
        window = _window(slide.shape, self.patch_size, rng, middles)
        labels = read_filled(truth, window, int(IGNORE_LABEL))
        if not foreground_and_valid(labels)[0].any():
            window = _window(slide.shape, self.patch_size, rng, middles)
            labels = read_filled(truth, window, int(IGNORE_LABEL))
        labels = np.where(labels == IGNORE_LABEL, -1, labels.astype(np.int64))
        return slide.normalisation.apply(read_mirrored(pixels, window)), labels

    def _negative(self, slide: LabelledSlide, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw a negative patch, normalised as an empty slide."""
        pixels, _ = self._pixels(slide.manifest)
        side = self.patch_size + 2 * _margin(self.patch_size)
        field = empty_field((pixels.shape[0], side, side), rng)
        constants = replace(slide.normalisation, offset=(0.0,), scale=(1.0,))
        return constants.apply(field), np.zeros((side, side), np.int64)

    def _pixels(self, manifest: Path) -> tuple[Pixels, Pixels]:
        """Open image and truth of a slide once: opening counts the chunks of a store."""
        if manifest not in self.opened:
            self.opened[manifest] = open_slide(manifest, self.packed)
        return self.opened[manifest]

    def _middles(self, manifest: Path) -> np.ndarray | None:
        """Return where patches may have their middle, (n, 2) in px; None for anywhere."""
        if manifest not in self.middles:
            found = annotated_spots(manifest)
            self.middles[manifest] = None
            if found is not None:
                spots, side = found
                self.middles[manifest] = np.argwhere(spots) * side + side // 2
        return self.middles[manifest]


def _patches(shape: tuple[int, int], patch_size: int) -> int:
    """Return the number of patches of a slide per epoch: the square root of the number that covers it.

    One patch per patch area would let a few large slides outweigh many small ones.
    """
    return math.ceil(math.sqrt(shape[0] * shape[1]) / patch_size)


def _balanced(owners: Sequence[int], strata: Sequence[str], balance: float) -> list[int]:
    """Repeat the patches of rare strata; none is removed.

    Parameters
    ----------
    owners : sequence of int
        The slide of each patch.
    strata : sequence of str
        Stratum of each slide.
    balance : float
        0 to 1. A stratum of n patches, where the largest has m, gets n (m / n)^balance of them.
    """
    members: dict[str, list[int]] = {}
    for owner in owners:
        members.setdefault(strata[owner], []).append(owner)
    most = max(map(len, members.values()))
    counts = {name: math.ceil(len(ids) * (most / len(ids)) ** balance) for name, ids in members.items()}
    # Evenly from all slides of a stratum, also for a fractional number of repetitions.
    repeated = (
        ids[i * len(ids) // counts[name]] for name, ids in members.items() for i in range(counts[name])
    )
    return sorted(repeated)


def _window(
    shape: tuple[int, int], patch_size: int, rng: np.random.Generator, middles: np.ndarray | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a random window, around one of `middles` if given, centred along axes shorter than a patch."""
    margin = _margin(patch_size)
    middle = None if middles is None else middles[rng.integers(len(middles))]
    spans = []
    for axis, side in enumerate(shape):
        spare = side - patch_size
        if spare <= 0:
            start = spare // 2
        elif middle is None:
            start = int(rng.integers(0, spare + 1))
        else:
            start = min(max(int(middle[axis]) - patch_size // 2, 0), spare)
        spans.append((start - margin, start + patch_size + margin))
    return spans[0], spans[1]


def _margin(patch_size: int) -> int:
    return int(patch_size * (_MARGIN - 1)) // 2
