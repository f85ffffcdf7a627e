"""Manifests: a small JSON beside each store, which exists only when the store is complete.

A reader opens a store through its manifest, so a store that a killed job left behind is never read.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from slideunet.errors import DamagedDataError
from slideunet.stores.files import write_atomically


def store_path(manifest: Path) -> Path:
    """Return the OME-Zarr that a manifest speaks of: the same name, ending in `.zarr`."""
    return manifest.with_suffix(".zarr")


def write_manifest(path: Path, facts: dict[str, Any]) -> None:
    """Write a manifest atomically as readable JSON."""
    write_atomically(path, json.dumps(facts, indent=1, allow_nan=False) + "\n")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises
    ------
    DamagedDataError
        When it is missing or not a JSON object.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(facts, dict):
            return facts
        reason = f"is not readable (it holds a {type(facts).__name__})"
    except FileNotFoundError:
        reason = "is missing, so its store is not complete"
    except ValueError as error:
        reason = f"is not readable ({error})"
    raise DamagedDataError(
        f"{path} {reason}. Run the workflow again with `--forcerun` on the rule that makes it."
    )


def is_current(manifest: Path, fingerprint: str) -> bool:
    """Tell whether a complete store with this fingerprint exists, so that its work can be skipped."""
    if not (manifest.is_file() and store_path(manifest).is_dir()):
        return False
    try:
        return read_manifest(manifest).get("fingerprint") == fingerprint
    except DamagedDataError:
        return False


def discard_store(manifest: Path) -> None:
    """Remove a store: its manifest first, so that at no instant one speaks of a store that is not whole."""
    manifest.unlink(missing_ok=True)
    shutil.rmtree(store_path(manifest), ignore_errors=True)
