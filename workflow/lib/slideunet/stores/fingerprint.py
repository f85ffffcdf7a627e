"""Fingerprints: short digests of all that a result depends on, so that finished work can be recognised."""

import hashlib
import json
from pathlib import Path

_READ_WHOLE = 64 * 1024**2
_PIECE = 1024**2
_PIECES = 64
_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup")


def fingerprint(**facts: object) -> str:
    """Return the sha256 (hex) of facts, which must be JSON values; their order does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def file_identity(path: Path) -> list[str]:
    """Return what tells one version of a file or folder from another, wherever it lies, whatever its times.

    Returns
    -------
    list of str
        The sha256 of a file of up to 64 MiB. A larger one, or a folder, has the sha256 of sizes and contents:
        of the whole up to 64 MiB together; beyond that of `_PIECES` pieces of 1 MiB at equal distances, from
        the first to the last, and in a folder (of which the pieces are files) of all names, sizes and Zarr
        metadata. A change between the pieces that keeps every size is not noticed.
    """
    if path.is_file() and path.stat().st_size <= _READ_WHOLE:
        return [hashlib.sha256(path.read_bytes()).hexdigest()]
    if path.is_file():
        return [_sampled(path)]
    return [_of_folder(path)]


def file_times(path: Path) -> str:
    """Return a digest of names, sizes and modification times: fast, and another one after every change."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(file.relative_to(path).as_posix(), file.stat()) for file in files if file.is_file()]
    return fingerprint(files=[(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(_PIECES):
            file.seek((size - _PIECE) * number // (_PIECES - 1))
            digest.update(file.read(_PIECE))
    return digest.hexdigest()


def _of_folder(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    sizes = [file.stat().st_size for file in files]
    step = 1 if sum(sizes) <= _READ_WHOLE else max((len(files) - 1) / (_PIECES - 1), 1)
    chosen = {round(number * step) for number in range(len(files))}
    digest = hashlib.sha256(b"folder")
    for number, (file, size) in enumerate(zip(files, sizes, strict=True)):
        digest.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        if number in chosen or file.name in _METADATA:
            digest.update(file_identity(file)[0].encode())
    return digest.hexdigest()
