"""Fingerprints: short digests of all that a result depends on, so that finished work can be recognised."""

import hashlib
import json
from pathlib import Path

_READ_WHOLE = 64 * 1024**2


def fingerprint(**facts: object) -> str:
    """Return the sha256 (hex) of facts, which must be JSON values; their order does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def file_identity(path: Path) -> list[str | int]:
    """Return what tells one version of a file or folder from another.

    Returns
    -------
    list
        The sha256 of a file of up to 64 MiB, wherever it lies. Of a larger one or a folder, which would take
        too long to read: absolute path, total bytes, and the latest modification in nanoseconds.
    """
    if path.is_file() and path.stat().st_size <= _READ_WHOLE:
        return [hashlib.sha256(path.read_bytes()).hexdigest()]
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    latest = max((stat.st_mtime_ns for stat in stats), default=0)
    return [str(path.absolute()), sum(stat.st_size for stat in stats), latest]
