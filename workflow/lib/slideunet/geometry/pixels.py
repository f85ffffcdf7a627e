"""What the library asks of an array that may lie in memory, in a store or nowhere yet."""

from typing import Any, Protocol

import numpy as np


class Pixels(Protocol):
    """Anything that is sliced like an array: NumPy, zarr and dask arrays among others."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""

    def __getitem__(self, index: Any, /) -> Any:  # noqa: ANN401 (whatever the array takes and gives)
        """Return a part."""


class WritablePixels(Pixels, Protocol):
    """An array that parts can be written to."""

    def __setitem__(self, index: Any, value: Any, /) -> None:  # noqa: ANN401
        """Write a part."""
