"""Several GPUs in one training: a process for each, that takes its share of every batch.

torch starts the processes. The first of them is the job itself, so its log, its messages and its exit code
are those of a training on one GPU.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessContext, ProcessException, start_processes

from slideunet.errors import MachineError, SlideunetError

Made = TypeVar("Made")
_LONGEST_VALIDATION = timedelta(days=1)
_SECONDS_TO_FAIL = 10


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is. Alone, it has every batch to itself and nobody to tell.

    Attributes
    ----------
    rank, count : int
        Number 0 is the first process: it validates, and it alone writes.
    patient : ProcessGroup or None
        For what only the first one does and the others wait for: longer than for their share of a step.
    """

    rank: int = 0
    count: int = 1
    patient: distributed.ProcessGroup | None = None

    def share(self, batch: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return what this process takes of a batch: all equally much, so perhaps one patch of it twice."""
        each = -(-len(batch) // self.count)
        return [batch[i % len(batch)] for i in range(self.rank, each * self.count, self.count)]

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of one dtype and device by their sums over all processes, the same bits in each."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        sums = flat.split([tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def from_first(self, make: Callable[[], Made]) -> Made:
        """Return what the first process makes, in all of them."""
        if self.count == 1:
            return make()
        made = [make() if self.rank == 0 else None]
        distributed.broadcast_object_list(made, src=0, group=self.patient)
        return made[0]  # type: ignore[return-value]


ALONE = Ranks()


def check_gpus(wanted: int) -> None:
    """Check that a training finds the GPUs that it is to take.

    Raises
    ------
    MachineError
        When it is to take several and torch sees fewer.
    """
    seen = torch.cuda.device_count()
    if wanted > max(seen, 1):
        raise MachineError(
            f"training.gpus asks for {wanted} GPUs, and torch sees {seen} here. Give the job more (on a "
            f"cluster `gpu: {wanted}` for train_unet, see docs/cluster.md), or lower training.gpus."
        )


@contextlib.contextmanager
def several(count: int, work: Callable[..., object], *given: object) -> Iterator[Ranks]:
    """Start the other processes of a training; the body is what the first one, this one, does.

    Parameters
    ----------
    count : int
        Of all processes. With 1 none is started.
    work : callable
        What the others do, called with their `Ranks` and what is given; the body must match it.

    Raises
    ------
    MachineError
        When another process failed first; its traceback is in the message.
    """
    if count == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        others = start_processes(
            _be_another, (count, meeting, work, given), count - 1, join=False, start_method="spawn"
        )
        try:
            yield _meet(0, count, meeting)
            while not others.join():
                pass
        except Exception as error:
            raise _first_failure(others, error) from error
        finally:
            for process in others.processes:
                process.terminate()
            if distributed.is_initialized():
                distributed.destroy_process_group()


def _be_another(index: int, count: int, meeting: str, work: Callable[..., object], given: Sequence) -> None:
    work(_meet(index + 1, count, meeting), *given)
    distributed.destroy_process_group()


def _meet(rank: int, count: int, meeting: str) -> Ranks:
    """Wait for all processes, each on a GPU of its own where there are any."""
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=count)
    return Ranks(rank, count, distributed.new_group(backend="gloo", timeout=_LONGEST_VALIDATION))


def _first_failure(others: ProcessContext, error: Exception) -> Exception:
    """Return the error that came first: a connection breaks here because another process has ended."""
    if isinstance(error, SlideunetError):
        return error
    try:
        others.join(_SECONDS_TO_FAIL)
    except ProcessException as failure:
        error = failure
    if not isinstance(error, ProcessException):
        return error
    return MachineError(f"Process {error.error_index + 1} of a training on several GPUs failed. {error.msg}")
