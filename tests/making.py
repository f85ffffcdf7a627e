"""What tests make, measure and read as a whole."""

import contextlib
import json

import numpy as np
import pandas as pd
import pytest

from slideunet.cells.measurement.measure import measure_regions
from slideunet.cells.measurement.regions import find_regions
from slideunet.geometry import blocks as blocks_module
from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.runs import runs_of
from slideunet.stores import omezarr


@contextlib.contextmanager
def blocks_of(side):
    """Blocks of so many pixels, wherever no other side is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "BLOCK", side)
        yield


def write_image(path, pixels, *, channels, mpp, version="0.5"):
    """Write an image pyramid of pixels (c, y, x) and return its number of levels."""
    omezarr.create_image(path, pixels.shape, pixels.dtype, channels=channels, mpp=mpp, version=version)
    levels = omezarr.open_levels(path, "r+")
    for region in BlockGrid(pixels.shape):
        omezarr.write_block(levels, region, np.asarray(pixels[..., *region]))
    omezarr.finish_levels(path)
    return len(levels)


def write_label_image(image, name, labels, *, mpp, version="0.5"):
    """Write a label pyramid into an image, as `labels/<name>`, and list it there."""
    omezarr.write_labels(image / "labels" / name, labels, mpp=mpp, version=version)
    omezarr.list_labels(image / "labels")


def check_pixels(source):
    """Decode every pixel, or raise what says why that cannot be."""
    source.pixels.compute()


def measure_labels(labels, *others, **options):
    """Measure the cells of a label image (y, x)."""
    return measure_regions(find_regions(runs_of(labels)), *others, **options)


def write_run(folder, slides, *, summary=None, quarantined=()):
    """Write what a comparison reads of a run, without pictures.

    `slides` has a dictionary per slide: `slide` and `values` (None without scores), and what differs from a
    labelled test slide of its own group, `content`, `truth`, `mpp`, `scale`, `split`, `group`, `model`;
    `columns` are those of metrics.csv.
    """
    results = folder / "results"
    results.mkdir(parents=True)
    rows = ["slide\tgroup\tstratum\tsplit\tn_objects\tcontent"]
    files = {}
    for own in slides:
        slide = own["slide"]
        content = own.get("content", f"pixels of {slide}")
        rows.append(f"{slide}\t{own.get('group', slide)}\t\t{own.get('split', 'test')}\t\t{content}")
        facts = {"content": content, "truth_content": own.get("truth", f"labels of {slide}")}
        grid = {"mpp": own.get("mpp", 0.5), "scale": own.get("scale", 1.0), "shape": [1, 20, 30]}
        files[f"slides/{slide}"] = facts | grid
        cells = {"n_cells": 1}
        files[f"predictions/{slide}"] = {"model_sha256": own.get("model", folder.name), "cells": cells}
        if own.get("values") is not None:
            files[f"metrics/{slide}"] = {"metrics_version": "3", "values": own["values"]}
    columns = [{"slide": own["slide"]} | own["columns"] for own in slides if "columns" in own]
    if columns:
        (results / "report").mkdir()
        pd.DataFrame(columns).to_csv(results / "report" / "metrics.csv", index=False)
    files |= {f"quarantine/{slide}": {"problems": ["bad"], "exit_code": 2} for slide in quarantined}
    files |= {} if summary is None else {"report/summary": summary}
    for name, content in files.items():
        path = results / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (results / "split.tsv").write_text("\n".join(rows) + "\n")
    return folder
