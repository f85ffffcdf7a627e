"""What the tests on a GPU need, with as few imports as a bare machine has.

`SLIDEUNET_REHEARSE_GPU=1` runs them on the CPU, where no GPU is: smaller images, and what runs out of memory
is made to.
"""

import contextlib
import os

import numpy as np
import pytest
import torch

REHEARSAL = os.environ.get("SLIDEUNET_REHEARSE_GPU") == "1"


@pytest.fixture(scope="session")
def device():
    """The GPU; without one the test is skipped, unless this is a rehearsal."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if REHEARSAL:
        return torch.device("cpu")
    return pytest.skip("torch sees no GPU here; SLIDEUNET_REHEARSE_GPU=1 rehearses the test on the CPU")


@pytest.fixture(scope="session")
def side(device):
    """The side of the images in pixels, which no tile divides."""
    return 2741 if device.type == "cuda" else 213


@pytest.fixture(scope="session")
def draw():
    """Draw pixels (c, y, x): a random image with structure of all sizes."""

    def make(channels, height, width, seed=0, dtype=np.uint8):
        rng = np.random.default_rng(seed)
        total = np.zeros((channels, height, width), np.float32)
        for step in (1, 4, 16, 64):
            coarse = rng.random((channels, -(-height // step), -(-width // step)), np.float32)
            total += np.kron(coarse, np.ones((step, step), np.float32))[:, :height, :width]
        return (total / 4 * np.iinfo(dtype).max).astype(dtype)

    return make


@pytest.fixture
def memory(device, monkeypatch):
    """Limit the memory: to inputs of `fits` values of a module in a rehearsal, to bytes on a GPU."""

    @contextlib.contextmanager
    def limited_cpu(module, fits):
        forward = module.forward

        def short(batch, *arguments):
            if batch.numel() > fits:
                raise torch.OutOfMemoryError("out of memory (rehearsed)")
            return forward(batch, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(module, "forward", short)
            yield

    @contextlib.contextmanager
    def limited_gpu(module, fits):
        """Allow so many bytes more than torch holds now."""
        del module
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + fits) / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    return limited_gpu if device.type == "cuda" else limited_cpu
