"""One optimiser step, with gradient accumulation where a batch does not fit into memory."""

import logging
from dataclasses import dataclass

import torch

from slideunet.errors import MachineError
from slideunet.model_json import Precision
from slideunet.network.architecture.unet import UNet, UNetSpec, channels_last
from slideunet.network.inference.device import best_device
from slideunet.network.inference.engines import claimed_precision, engine_of_machine
from slideunet.network.inference.precision import choose_precision, reduced_precision
from slideunet.network.training.losses import build_loss
from slideunet.network.training.several_gpus import ALONE, Ranks

_TRIAL_PATCHES = 8  # More take long on a CPU.


@dataclass
class MicroBatch:
    """Number of patches per forward pass; halved for the rest of the training when memory runs out."""

    patches: int

    def halve(self, side: int) -> None:
        """Halve the size after memory ran out.

        Raises
        ------
        MachineError
            When a single patch was too much.
        """
        if self.patches == 1:
            raise MachineError(
                f"There is not enough memory to train on one patch of {side} x {side} px. "
                "Lower training.patch_size, or model.width (or preset), or give the job more memory."
            )
        self.patches = -(-self.patches // 2)
        logging.warning(
            f"Memory ran out: from here on gradients are accumulated over micro-batches of {self.patches} "
            "patches. Set training.micro_batch_size to start with this size."
        )


def training_step(
    network: UNet,
    optimiser: torch.optim.Optimizer,
    loss: torch.nn.Module,
    image: torch.Tensor,
    target: torch.Tensor,
    precision: Precision,
    micro_batch: MicroBatch | None = None,
    ranks: Ranks = ALONE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do one optimiser step.

    Parameters
    ----------
    network, optimiser, loss
    image : tensor (n, c, y, x) float32
    target : tensor (n, planes, y, x) float32
    precision : "fp32" or "bf16"
    micro_batch : MicroBatch, optional
        With fewer than n patches, gradients are accumulated before the step. Only batch normalisation, and a
        loss that is not a mean over patches, depend on the size.
    ranks : Ranks, optional
        With several processes, each has a part of the batch, and all do the same step.

    Returns
    -------
    The loss (the mean over the patches of all processes) and the output (n, maps, y, x), detached, float32.

    Raises
    ------
    MachineError
        When not even one patch fits into memory.
    """
    micro_batch = micro_batch or MicroBatch(len(image))
    while (result := _gradients(network, loss, image, target, precision, micro_batch.patches)) is None:
        micro_batch.halve(image.shape[-1])
    if ranks.count > 1:
        # Each process has the mean over its own part, and the parts have the same size.
        changed = [p.grad.div_(ranks.count) for p in network.parameters() if p.grad is not None]
        ranks.add_up([*changed, result[0].div_(ranks.count)])
    torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm=5.0)
    optimiser.step()
    return result


def quicker_precision(spec: UNetSpec, patch_size: int, at_once: int) -> Precision:
    """Choose the precision by timing steps on as many patches as go through the network at once, at most 8.

    Patches have their full size: with a pretrained encoder, bf16 was 1.10 times as fast on half patches, but
    1.36 times on whole ones. Their number counts, too: 1.2 times as fast with 2 patches of 256 px, 1.6 times
    with 8, whose maps no longer fit in the cache in fp32. Without instructions for bf16 nothing is timed.
    """
    device, patches = best_device(), min(at_once, _TRIAL_PATCHES)
    if device.type == "cpu" and claimed_precision(engine_of_machine("auto")) == "fp32":
        logging.info("Precision fp32: this processor has no instructions for bf16")
        return "fp32"
    trial = channels_last(UNet(spec).to(device))
    optimiser, loss = torch.optim.SGD(trial.parameters(), lr=0.0), build_loss("bce")
    image = torch.zeros(patches, spec.channels, patch_size, patch_size, device=device)
    image = image.to(memory_format=torch.channels_last)
    target = torch.zeros(patches, len(spec.maps), patch_size, patch_size, device=device)
    chosen, seconds = choose_precision(
        lambda precision: training_step(trial, optimiser, loss, image, target, precision), repeats=3
    )
    timings = ", ".join(f"{time:.3f} s in {precision}" for precision, time in seconds.items())
    logging.info(f"Precision {chosen}: a step of {patches} patches takes {timings}")
    return chosen


def _gradients(
    network: UNet,
    loss: torch.nn.Module,
    image: torch.Tensor,
    target: torch.Tensor,
    precision: Precision,
    patches: int,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Accumulate the gradients of a batch over micro-batches; None when memory ran out."""
    network.zero_grad(set_to_none=True)
    values, outputs = [], []
    try:
        for part, truth in zip(image.split(patches), target.split(patches), strict=True):
            with reduced_precision(image.device, precision):
                output = network(part)
            output = output.float()
            value = loss(output, truth) * (len(part) / len(image))
            value.backward()
            values.append(value.detach())
            outputs.append(output.detach())
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        return None
    return torch.stack(values).sum(), torch.cat(outputs)


def _out_of_memory(error: Exception) -> bool:
    # The allocator of CPUs raises a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
