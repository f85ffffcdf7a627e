"""Shuffled batches of training patches, shared among the processes of a training on several GPUs."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader, Sampler

from slideunet.network.patches.dataset import PatchDataset
from slideunet.network.training.several_gpus import ALONE, Ranks


class BatchSampler(Sampler):
    """The keys of all batches of some epochs, or of a process's share of them; shuffled by (seed, epoch)."""

    def __init__(
        self, n_samples: int, batch_size: int, seed: int, epochs: range, ranks: Ranks = ALONE
    ) -> None:
        self.ranks = ranks
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
                batch = order[start : start + self.batch_size]
                yield self.ranks.share([(epoch, int(sample)) for sample in batch])


def batches(
    dataset: PatchDataset, batch_size: int, epochs: range, workers: int, ranks: Ranks = ALONE
) -> DataLoader:
    """Return all batches of some epochs in turn: images (n, c, y, x) and targets (n, maps, y, x).

    One loader serves all epochs, so that its processes start once and go on while an epoch is validated.
    """
    return DataLoader(
        dataset,
        batch_sampler=BatchSampler(len(dataset), batch_size, dataset.seed, epochs, ranks),
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
    )
