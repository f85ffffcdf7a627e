"""Fingerprints: short digests of all that a result depends on, so that finished work can be recognised."""

import hashlib
import json
from pathlib import Path
from typing import Any


def fingerprint(**facts: Any) -> str:
    """Return the sha256 (hex) of facts, which must be JSON values; their order does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def file_identity(path: Path) -> list[Any]:
    """Return what tells one version of a file or folder from another without reading it all.

    Returns
    -------
    list
        Absolute path, total bytes, and the latest modification in nanoseconds.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    return [str(path.absolute()), sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)]
