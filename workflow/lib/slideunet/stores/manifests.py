"""Manifests: a small JSON beside each store, which exists only when the store is complete.

A reader opens a store through its manifest, so a store that a killed job left behind is never read.
"""

import json
import shutil
from collections.abc import Callable, Iterable
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


def is_current(
    result: Path,
    fingerprint: str,
    read: Callable[[Path], str | None] | None = None,
    beside: Iterable[Path] = (),
) -> bool:
    """Tell whether a result depends on just this and is complete, so that its work can be skipped.

    Parameters
    ----------
    result : Path
        A manifest or another JSON, a table, an image: a file that is written last.
    fingerprint : str
        Of all that the result should depend on.
    read : callable, optional
        Returns the fingerprint that a file carries, None without one; `read_fingerprint` when not given.
    beside : iterable of Path
        What else belongs to the result.
    """
    return (read or read_fingerprint)(result) == fingerprint and all(path.exists() for path in beside)


def read_fingerprint(path: Path, name: str | None = None) -> str | None:
    """Return the fingerprint in a JSON, or that of what it describes under `name`.

    None when there is no such thing, and when the store is gone whose blocks the JSON lists.
    """
    try:
        facts = read_manifest(path)
    except DamagedDataError:
        return None
    if "blocks" in facts and not store_path(path).is_dir():
        return None
    return (facts if name is None else facts.get(name, {})).get("fingerprint")


def discard_store(manifest: Path) -> None:
    """Remove a store: its manifest first, so that at no instant one speaks of a store that is not whole."""
    manifest.unlink(missing_ok=True)
    shutil.rmtree(store_path(manifest), ignore_errors=True)
