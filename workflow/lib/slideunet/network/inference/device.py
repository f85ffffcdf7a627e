"""Choice of the device and of its kernels."""

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterator

import torch

# cuDNN's settings hold for the whole process, and several threads share a GPU.
_settings = threading.Lock()


def best_device() -> torch.device:
    """Return the GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def take_own_gpu() -> None:
    """Show a worker of a local cluster only the GPU with its number, before CUDA is looked at.

    Nothing changes in a process that is not a worker, nor in a worker with a name instead of a number (SLURM
    gives each its own GPUs).
    """
    dask = sys.modules.get("distributed")
    with contextlib.suppress(ValueError):  # not in a worker
        name = dask and dask.get_worker().name
        if isinstance(name, int):
            shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            gpus = shown.split(",")[name : name + 1] if shown else [str(name)]
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)


@contextlib.contextmanager
def exact_kernels(device: torch.device) -> Iterator[None]:
    """On a GPU, launch by one thread at a time, deterministic kernels only and fp32 without TF32."""
    if device.type != "cuda":
        yield
        return
    # Without `enabled` this context would switch cuDNN off.
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with _settings, flags:
        yield
