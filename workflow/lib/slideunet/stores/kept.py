"""What a run keeps of its stores (`data.keep`), and what is gone of a store.

A manifest outlives what it describes: `dropped` lists the parts that are gone, `first_level` the finest level
of an image of which only an overview is kept. So a re-run knows what was there, and readers say what is gone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slideunet.errors import InputError
from slideunet.stores.manifests import read_manifest

KEEPABLE = ("slides", "maps", "predictions", "labels", "cells")
"""Pixels of the slides; output maps besides the foreground; foreground; label images; tables and outlines."""
IN_PREDICTION = ("maps", "predictions", "labels")

_WORDS = {
    "slides": "pixels of the slide",
    "maps": "output maps",
    "predictions": "probabilities",
    "labels": "labels of the cells",
}


def kept_parts(keep: str | Sequence[str]) -> tuple[str, ...]:
    """Return the parts that `data.keep` names, each once and in the order of `KEEPABLE`; "all" is all."""
    return tuple(part for part in KEEPABLE if keep == "all" or part in keep)


def dropped_parts(facts: Mapping[str, Any]) -> frozenset[str]:
    """Return the parts of a slide's or a prediction's store, given by its manifest, that are gone."""
    return frozenset(facts.get("dropped", ())) | ({"slides"} if facts.get("first_level") else set())


def check_kept(manifest: Path, *parts: str) -> None:
    """Check that parts of a store were not dropped.

    Raises
    ------
    InputError
        Naming them.
    """
    gone = [part for part in parts if part in dropped_parts(read_manifest(manifest))]
    if gone:
        words = " and ".join(_WORDS[part] for part in gone)
        raise InputError(
            f"{manifest}: the {words} are no longer there, because data.keep does not name them. Set "
            f"data.keep to all, or add {' and '.join(gone)} to it, and run the workflow again."
        )
