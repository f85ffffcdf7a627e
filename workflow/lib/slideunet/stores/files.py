"""Writing files so that a reader finds the old file or the new one, never a part of one."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of `path` when the block ends without an error."""
    with _partial(path) as partial:
        yield partial
        flush(partial)
        partial.replace(path)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of `path` when the block ends without an error."""
    with _partial(path) as partial:
        partial.mkdir()
        yield partial
        _remove(path)
        partial.replace(path)


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """Yield a free path beside `path`, in a folder that exists; what is left there at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(partial)
    try:
        yield partial
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that it is either the old or the new one, whole, at any instant."""
    with replacing(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def write_once(path: Path, text: str) -> None:
    """Write a file unless another process was first: a hard link does not replace a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    mine.write_text(text, encoding="utf-8")
    try:
        with contextlib.suppress(FileExistsError):
            os.link(mine, path)
    finally:
        mine.unlink()


def flush(path: Path) -> None:
    """See that a file or folder is on the disk and not only in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
