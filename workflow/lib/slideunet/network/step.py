"""One step of the optimiser, also of a batch that the memory does not hold at once."""

import logging
from dataclasses import dataclass

import torch

from slideunet.errors import MachineError
from slideunet.network.facts import Precision
from slideunet.network.inference import reduced_precision
from slideunet.network.unet import UNet


@dataclass
class Room:
    """How many patches go through the network at once; halved for good when memory runs out."""

    patches: int

    def halve(self, side: int) -> None:
        """Make room after memory ran out.

        Raises
        ------
        MachineError
            When one patch alone was too much.
        """
        if self.patches == 1:
            raise MachineError(
                f"There is not enough memory to train on one patch of {side} x {side} px. "
                "Lower training.patch_size, or model.width (or preset), or give the job more memory."
            )
        self.patches = -(-self.patches // 2)
        logging.warning(
            f"Memory ran out: {self.patches} patches go through the network at once from here on. A step "
            "still learns from the whole batch. Set training.at_once to begin so."
        )


def training_step(
    network: UNet,
    optimiser: torch.optim.Optimizer,
    loss: torch.nn.Module,
    image: torch.Tensor,
    target: torch.Tensor,
    precision: Precision,
    room: Room | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do one step of the optimiser.

    Parameters
    ----------
    network, optimiser, loss
    image : tensor (n, c, y, x) float32
    target : tensor (n, planes, y, x) float32
    precision : "fp32" or "bf16"
    room : Room, optional
        With less than n patches, the gradients of the parts are added up before the step. Only the batch
        normalisation sees a difference, and a loss that is no mean over patches.

    Returns
    -------
    The loss (the mean over patches) and the output (n, maps, y, x), detached, float32.

    Raises
    ------
    MachineError
        When not even one patch at once fits into memory.
    """
    room = room or Room(len(image))
    while (result := _gradients(network, loss, image, target, precision, room.patches)) is None:
        room.halve(image.shape[-1])
    torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm=5.0)
    optimiser.step()
    return result


def _gradients(
    network: UNet,
    loss: torch.nn.Module,
    image: torch.Tensor,
    target: torch.Tensor,
    precision: Precision,
    patches: int,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Compute the gradients of a batch, so many patches at once; None when memory ran out."""
    network.zero_grad(set_to_none=True)
    values, outputs = [], []
    try:
        for part, wanted in zip(image.split(patches), target.split(patches), strict=True):
            with reduced_precision(image.device, precision):
                output = network(part)
            output = output.float()
            value = loss(output, wanted) * (len(part) / len(image))
            value.backward()
            values.append(value.detach())
            outputs.append(output.detach())
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        return None
    return torch.stack(values).sum(), torch.cat(outputs)


def _out_of_memory(error: Exception) -> bool:
    # The allocator of CPUs has no class of its own for it.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
