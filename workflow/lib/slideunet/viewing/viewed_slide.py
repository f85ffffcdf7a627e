"""What a run has of one slide: the stores, the table and the errors that a viewer shows."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slideunet.errors import DamagedDataError, InputError, collected
from slideunet.scoring.error_examples import Example
from slideunet.stores.kept import check_kept, dropped_parts
from slideunet.stores.manifests import read_manifest, store_path
from slideunet.stores.verified import open_image_store, open_label_store


@dataclass(frozen=True)
class ViewedSlide:
    """One slide of a run.

    Attributes
    ----------
    name : str
    facts : dict
        The manifest of the image.
    image : Path
        Its OME-Zarr store.
    prediction : Path or None
        The store of the prediction; None if the slide was not predicted.
    n_cells : int or None
        Number of cells; None if the stores have no `labels/cells`.
    has_truth, has_probability : bool
        Whether the stores have `labels/truth`, and the pixels of the probability.
    table : Path or None
        Parquet with one row per cell.
    examples : tuple of Example
        A sample of the errors, from the score of the slide.
    """

    name: str
    facts: dict[str, Any]
    image: Path
    prediction: Path | None = None
    n_cells: int | None = None
    has_truth: bool = False
    has_probability: bool = True
    table: Path | None = None
    examples: tuple[Example, ...] = ()

    @property
    def stores(self) -> dict[str, Path]:
        """The folders that the browser may read, by the name that an address has for them."""
        found = {"image": self.image, "prediction": self.prediction}
        return {name: path for name, path in found.items() if path is not None}


def find_slide(run: Path, slide: str) -> ViewedSlide:
    """Find what a run has of a slide, and check that no chunk is missing.

    Parameters
    ----------
    run : Path
        The folder a run was started in, or its `results`.
    slide : str
        Id in the sample sheet.

    Raises
    ------
    InputError
        When there is no such run or slide, or pixels or labels were dropped.
    DamagedDataError
        When a store or a file is missing in part, or altered.
    """
    results = _results(run)
    names = {path.stem for path in (results / "slides").glob("*.json")}
    if slide not in names:
        raise InputError(_unknown(slide, names, results))
    manifest, predicted = results / f"slides/{slide}.json", results / f"predictions/{slide}.json"
    facts = read_manifest(manifest)
    kept: list[str] = []
    for path, part in ((manifest, "slides"), (predicted, "labels")):
        if path.is_file():
            with collected(kept):
                check_kept(path, part)
    if kept:
        raise InputError(kept)
    open_image_store(manifest)
    has_truth = "truth" in facts
    if has_truth:
        open_label_store(manifest, "truth")
    if not predicted.is_file():
        return ViewedSlide(slide, facts, store_path(manifest), has_truth=has_truth)
    prediction = read_manifest(predicted)
    has_probability = "predictions" not in dropped_parts(prediction)
    if has_probability:
        open_image_store(predicted)
    cells = prediction.get("cells")
    if cells is not None:
        open_label_store(predicted, "cells")
    table = results / f"cells/{slide}.parquet"
    return ViewedSlide(
        slide,
        facts,
        store_path(manifest),
        store_path(predicted),
        None if cells is None else cells["n_cells"],
        has_truth,
        has_probability,
        table if table.is_file() else None,
        _examples(results / f"metrics/{slide}.json"),
    )


def _results(run: Path) -> Path:
    for folder in (run / "results", run):
        if (folder / "slides").is_dir():
            return folder
    reason = "has no results/slides" if run.is_dir() else "is not a folder"
    raise InputError(
        f"{run} {reason}, so it is not the folder of a run. "
        "Name the folder that the workflow ran in (its --directory), or its `results`."
    )


def _unknown(slide: str, names: Collection[str], results: Path) -> str:
    near = difflib.get_close_matches(slide, names, 3, 0.5) or sorted(names)[:3]
    what = f"{results / 'slides'} has no slide {slide!r}" if slide else "No slide is named"
    there = f"the nearest of {len(names)}: {', '.join(near)}" if names else "no slide is complete"
    return f"{what}; {there}. Name one with SLIDE=."


def _examples(path: Path) -> tuple[Example, ...]:
    try:
        return tuple(Example(**values) for values in json.loads(path.read_text(encoding="utf-8"))["examples"])
    except FileNotFoundError:  # Without ground truth, or not yet scored.
        return ()
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(
            f"{path} cannot be read ({error!r}), so the errors of the slide are not known. "
            "Delete it and run the workflow again."
        ) from error
