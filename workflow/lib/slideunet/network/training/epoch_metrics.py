"""Loss, Dice and speed of an epoch, during it and at its end."""

import time

import torch

from slideunet.network.training.several_gpus import Ranks


class EpochMetrics:
    """Pixel counts, pooled over the batches of an epoch.

    Attributes
    ----------
    counts : tensor (5,) float64
        Sum of the loss, true positives, false positives, false negatives, pixels.
    """

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.counts = torch.zeros(5, dtype=torch.float64)

    def add(self, loss: torch.Tensor, predicted: torch.Tensor, truth: torch.Tensor) -> None:
        """Add a batch: its mean loss and two masks of the same shape, on the CPU."""
        tp, n_pred, n_true = (int(mask.sum()) for mask in (predicted & truth, predicted, truth))
        pixels = truth.numel()
        self.counts += torch.tensor([loss.item() * pixels, tp, n_pred - tp, n_true - tp, pixels])

    def reduce(self, ranks: Ranks, device: torch.device) -> "EpochMetrics":
        """Add up the counts of all processes, which exchange tensors on a device."""
        total = self.counts.to(device)
        ranks.add_up([total])
        self.counts = total.cpu()
        return self

    def row(self) -> dict[str, float]:
        """Return the values of the epoch for the history."""
        seconds = time.perf_counter() - self.start
        loss, tp, fp, fn, pixels = self.counts.tolist()
        return {
            "train_loss": loss / pixels,
            "train_dice": 2 * tp / max(2 * tp + fp + fn, 1),
            "seconds": seconds,
            "pixels_per_second": pixels / seconds,
        }

    def shown(self) -> dict[str, str]:
        """Return the values of this process for the progress line."""
        row = self.row()
        return {"Dice": f"{row['train_dice']:.3f}", "Mpx_s": f"{row['pixels_per_second'] / 1e6:.2f}"}
