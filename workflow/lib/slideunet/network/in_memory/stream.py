"""Endless batches, determined by seed and step, computed on the device one step ahead."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from slideunet.network.in_memory.batch_targets import batch_targets
from slideunet.network.in_memory.draws import draw_patches, image_weights
from slideunet.network.in_memory.intensities import Chance, change_intensities
from slideunet.network.in_memory.pool import Pool
from slideunet.network.in_memory.recipe import Recipe
from slideunet.network.in_memory.warping import warp
from slideunet.network.patches.cytoplasm import add_cytoplasm, known_foreground

Batch = tuple[torch.Tensor, torch.Tensor]


class BatchMaker:
    """Computes the batch of any step.

    Attributes
    ----------
    pool : Pool
    recipe : Recipe
    maps : sequence of str
        `UNetSpec.maps`.
    """

    def __init__(self, pool: Pool, recipe: Recipe, maps: Sequence[str]) -> None:
        self.pool, self.recipe, self.maps = pool, recipe, maps
        self.weights = image_weights(
            pool.index, recipe.stratum_balance, recipe.source_balance, recipe.negatives
        )

    @torch.no_grad()
    def __call__(self, step: int) -> Batch:
        """Return images (n, c, y, x), channels last, and targets (n, planes, y, x), float32 on the device."""
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, step))
        noise = torch.Generator(self.pool.planes.device)
        noise.manual_seed(int(rng.integers(2**62)))
        draws = draw_patches(self.pool.index, self.weights, recipe, rng)
        warped = warp(self.pool, draws, recipe.patch_size)
        images = add_cytoplasm(
            warped.planes[:, : self.pool.channels],
            known_foreground(warped.labels),
            recipe.augmentation["cytoplasm"],
            rng,
            noise,
        )
        images = change_intensities(images, recipe.augmentation, Chance(rng, noise))
        targets = batch_targets(self.pool, warped, self.maps, border=recipe.border_weight > 0)
        return images.contiguous(memory_format=torch.channels_last), targets


def batch_stream(make: BatchMaker, first: int) -> Iterator[Batch]:
    """Yield the batches from step `first` on.

    On a GPU the next batch is computed, in a separate stream, while the network trains on this one.
    """
    device = make.pool.planes.device
    if device.type != "cuda":
        while True:
            yield make(first)
            first += 1
    beside = torch.cuda.Stream(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    ahead = _made(make, first, beside)
    while True:
        first += 1
        torch.cuda.current_stream(device).wait_stream(beside)
        batch = ahead
        for tensor in batch:
            # Its memory is not reused before the network has read it.
            tensor.record_stream(torch.cuda.current_stream(device))
        ahead = _made(make, first, beside)
        yield batch


def _made(make: BatchMaker, step: int, stream: torch.cuda.Stream) -> Batch:
    with torch.cuda.stream(stream):
        return make(step)
