"""Loss, Dice and speed of an epoch, while it goes on and at its end."""

import time

import torch

from slideunet.network.training.several_gpus import Ranks


class Tally:
    """Counts of pixels, pooled over the batches of an epoch.

    Attributes
    ----------
    counts : tensor (5,) float64
        The sum of the loss, true positives, false positives, false negatives, pixels.
    """

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.counts = torch.zeros(5, dtype=torch.float64)

    def add(self, loss: torch.Tensor, found: torch.Tensor, wanted: torch.Tensor) -> None:
        """Add a batch: its mean loss and two masks of one shape, on the CPU."""
        tp, n_found, n_wanted = (int(mask.sum()) for mask in (found & wanted, found, wanted))
        pixels = wanted.numel()
        self.counts += torch.tensor([loss.item() * pixels, tp, n_found - tp, n_wanted - tp, pixels])

    def over_all(self, ranks: Ranks, device: torch.device) -> "Tally":
        """Return the tally of all processes, which exchange tensors of a device."""
        everywhere = self.counts.to(device)
        ranks.add_up([everywhere])
        self.counts = everywhere.cpu()
        return self

    def row(self) -> dict[str, float]:
        """Return what the history of a training says of the epoch."""
        seconds = time.perf_counter() - self.start
        loss, tp, fp, fn, pixels = self.counts.tolist()
        return {
            "train_loss": loss / pixels,
            "train_dice": 2 * tp / max(2 * tp + fp + fn, 1),
            "seconds": seconds,
            "pixels_per_second": pixels / seconds,
        }

    def shown(self) -> dict[str, str]:
        """Return what the progress line says, of this process."""
        row = self.row()
        return {"Dice": f"{row['train_dice']:.3f}", "Mpx_s": f"{row['pixels_per_second'] / 1e6:.2f}"}
