"""Data-parallel training on several GPUs: a process per GPU, each with its part of every batch.

torch starts the processes. The first one is the job itself, so log, messages and exit code are those of a
training on one GPU.
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

_Result = TypeVar("_Result")
_LONGEST_VALIDATION = timedelta(days=1)
_SECONDS_TO_FAIL = 10


@dataclass(frozen=True)
class Ranks:
    """The rank of this process and the number of processes.

    Attributes
    ----------
    rank, count : int
        Rank 0 is the first process: it validates, and it alone writes files.
    patient : ProcessGroup or None
        With a longer timeout, for work of the first process while the others wait.
    """

    rank: int = 0
    count: int = 1
    patient: distributed.ProcessGroup | None = None

    def share(self, batch: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the part of a batch for this process; all have the same size, so a patch may occur twice."""
        each = -(-len(batch) // self.count)
        return [batch[i % len(batch)] for i in range(self.rank, each * self.count, self.count)]

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of one dtype and device by their sums over all processes, equal in each."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        sums = flat.split([tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def from_first(self, compute: Callable[[], _Result]) -> _Result:
        """Compute a value in the first process and return it in all of them."""
        if self.count == 1:
            return compute()
        result = [compute() if self.rank == 0 else None]
        distributed.broadcast_object_list(result, src=0, group=self.patient)
        return result[0]  # type: ignore[return-value]


ALONE = Ranks()


def check_gpus(wanted: int) -> None:
    """Raise MachineError when a training should use several GPUs and torch finds fewer."""
    available = torch.cuda.device_count()
    if wanted > max(available, 1):
        raise MachineError(
            f"training.gpus asks for {wanted} GPUs, and torch finds {available} here. Give the job more (on "
            f"a cluster `gpu: {wanted}` for train_unet, see docs/cluster.md), or lower training.gpus."
        )


@contextlib.contextmanager
def several(count: int, work: Callable[..., object], *arguments: object) -> Iterator[Ranks]:
    """Start the other processes of a training; the body is the work of the first one, this process.

    Parameters
    ----------
    count : int
        Number of processes. With 1 none is started.
    work : callable
        Work of the others, called with their `Ranks` and the arguments; the body must match it.

    Raises
    ------
    MachineError
        When another process failed first; the message has its traceback.
    """
    if count == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        others = start_processes(
            _be_another, (count, meeting, work, arguments), count - 1, join=False, start_method="spawn"
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


def _be_another(
    index: int, count: int, meeting: str, work: Callable[..., object], arguments: Sequence
) -> None:
    work(_meet(index + 1, count, meeting), *arguments)
    distributed.destroy_process_group()


def _meet(rank: int, count: int, meeting: str) -> Ranks:
    """Wait for all processes, each on its own GPU if there are GPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=count)
    return Ranks(rank, count, distributed.new_group(backend="gloo", timeout=_LONGEST_VALIDATION))


def _first_failure(others: ProcessContext, error: Exception) -> Exception:
    """Return the first error: a connection breaks here when another process has ended."""
    if isinstance(error, SlideunetError):
        return error
    try:
        others.join(_SECONDS_TO_FAIL)
    except ProcessException as failure:
        error = failure
    if not isinstance(error, ProcessException):
        return error
    return MachineError(f"Process {error.error_index + 1} of a training on several GPUs failed. {error.msg}")
