"""What tests make, measure and read as a whole."""

import contextlib
import json

import numpy as np
import pytest

from slideunet.cells.measurement.measure import measure_regions
from slideunet.cells.measurement.regions import find_regions
from slideunet.geometry import blocks as blocks_module
from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.runs import runs_of
from slideunet.report.tables import NOTHING
from slideunet.scoring.class_counts import CROWDING, SIZE_CLASSES, ClassCounts
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import METRICS_VERSION, Score
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
    labelled test slide of its own group, `content`, `truth`, `mpp`, `scale`, `split`, `group`, `model`,
    `precision`, `score` (its counts; none by default) and `version` of the metrics.
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
        how = {"engine": "openvino", "precision": own.get("precision", "fp32")}
        model = {"model_sha256": own.get("model", folder.name)}
        files[f"predictions/{slide}"] = model | how | {"cells": cells}
        if own.get("values") is not None or "score" in own:
            scores = own.get("score", NOTHING).to_json() | {"examples": []}
            scores["values"] = own.get("values", scores["values"])
            files[f"metrics/{slide}"] = scores | {"metrics_version": own.get("version", METRICS_VERSION)}
    files |= {f"quarantine/{slide}": {"problems": ["bad"], "exit_code": 2} for slide in quarantined}
    files |= {} if summary is None else {"report/summary": summary}
    for name, content in files.items():
        path = results / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (results / "split.tsv").write_text("\n".join(rows) + "\n")
    return folder


def random_score(random, most=60):
    """Draw the counts of a slide with at most so many objects and cells; they fit together as far as metrics
    are made from them.
    """
    n_true, n_pred = random.integers(1, most, 2).tolist()
    tp = sorted(random.integers(0, min(n_true, n_pred) + 1, 10).tolist(), reverse=True)
    cells = InstanceCounts(
        n_true, n_pred, tuple(tp), tp[0] * float(random.uniform(0.5, 1)),
        *sorted(random.integers(1, 9000, 2).tolist()), *random.integers(0, 5, 2).tolist(),
    )  # fmt: skip

    def pixels():
        return PixelCounts(*random.integers(0, 9000, 4).tolist())

    def classes(n):
        drawn = np.sort(random.integers(0, most, (2, n, 2)), axis=-1)
        columns = [drawn[side, :, part] for side in (0, 1) for part in (1, 0)]
        return ClassCounts(*(tuple(column.tolist()) for column in columns))

    return Score(pixels(), pixels(), pixels(), cells, classes(SIZE_CLASSES), classes(len(CROWDING)))
