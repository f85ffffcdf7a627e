"""What stays in memory between two reads of one file: little, and never more than one large piece."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy.typing as npt

LARGE = 2**24
"""Values from which a decoded piece is kept: every region of a huge strip or PNG would decode it anew."""

_lock = threading.Lock()
_kept: dict[Hashable, npt.NDArray[Any]] = {}


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds: tells one version of a file from the next."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def keep_large(key: Hashable, values: int, decode: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Decode a piece, or return it as it was decoded last.

    One large piece is kept per process, until another one is asked for. Two threads that need it decode it
    once: the second waits, which takes no longer than to decode it twice and half the memory.

    Parameters
    ----------
    key : hashable
        File, version and place.
    values : int
        How many it has; small pieces are not kept.
    decode : callable
        Makes the piece.
    """
    if values < LARGE:
        return decode()
    with _lock:
        if key not in _kept:
            _kept.clear()
            _kept[key] = decode()
        return _kept[key]
