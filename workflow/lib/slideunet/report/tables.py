"""The numbers of metrics.csv and summary.json: a row per slide, and means, pooled values and intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from slideunet.report.agreement import agreement, count_error, count_error_percent
from slideunet.report.measures import (
    MEASURES,
    ap_curve,
    area_mm2,
    boundary_curve,
    measures_of,
    reliability,
    size_classes,
    values_of,
)
from slideunet.report.results import SlideResult
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.intervals import interval_of_mean, interval_of_ratio
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import Score

SPLITS = ("train", "val", "test", "predict")
IDS = ("slide", "group", "split", "stratum")
NOTHING = Score(PixelCounts(), PixelCounts(), PixelCounts(), InstanceCounts())
FURTHER = ("count_error", "count_error_percent", "area_mm2", *MEASURES)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def scored(results: Iterable[SlideResult], split: str | None = None) -> list[SlideResult]:
    """Select the slides with scores, of one split or of all."""
    return [r for r in results if r.score is not None and split in (None, r.split)]


def scores_of(results: Iterable[SlideResult]) -> list[Score]:
    """Return the scores of all slides that have one."""
    return [r.score for r in results if r.score is not None]


def metrics_table(results: Iterable[SlideResult], by: Sequence[str] = ()) -> pd.DataFrame:
    """Return metrics.csv: a row per scored slide with ids, metrics, counts and the `by` columns of the sheet.

    Text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    rows = [
        {name: getattr(result, name) for name in IDS}
        | _numbers(result.score)
        | _further(result)
        | {column: result.value_of(column) for column in by}
        for result in results
        if result.score is not None
    ]
    columns = list(dict.fromkeys([*IDS, *_numbers(NOTHING), *FURTHER, *by]))
    return pd.DataFrame(rows, columns=columns).map(guard_formula)


def guard_formula(value: object) -> object:
    """Prefix text that starts like a spreadsheet formula with an apostrophe; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def summarise(results: Sequence[SlideResult], *, seed: int = 0) -> dict[str, Any]:
    """Summarise the scored slides among `results`.

    Returns
    -------
    dict
        n_slides, n_groups, n_true, n_pred; "mean": each metric averaged over slides; "intervals": its 95 %
        interval over groups, or None; "pooled": the metrics of all pixels and cells together;
        "pooled_dice_interval"; "counts"; "measures", "ap_curve", "size_classes", "calibration" and
        "boundary_curve" (see `measures`), and "count_agreement" (see `agreement`). Without scored
        slides the first four are 0, the others empty.
    """
    results = scored(results)
    scores = scores_of(results)
    groups = [result.group for result in results]
    pooled = sum(scores, NOTHING)
    values = pd.DataFrame([score.values() for score in scores])
    return {
        "n_slides": len(results),
        "n_groups": len(set(groups)),
        "n_true": pooled.instances.n_true,
        "n_pred": pooled.instances.n_pred,
        "mean": {name: float(values[name].mean()) for name in values},
        "intervals": {name: interval_of_mean(values[name], groups, seed) for name in values},
        "pooled": pooled.values() if scores else {},
        "pooled_dice_interval": interval_of_ratio(
            [2 * s.pixel.tp for s in scores],
            [2 * s.pixel.tp + s.pixel.fp + s.pixel.fn for s in scores],
            groups,
            seed,
        ),
        "counts": {
            name: part
            for name, part in pooled.to_json().items()
            if scores and name not in ("values", "empty")
        },
        "measures": measures_of(results, seed) if scores else {},
        "ap_curve": ap_curve(results, seed) if scores else [],
        "size_classes": size_classes(results, seed),
        "calibration": {
            "foreground": reliability(results, "calibration", seed),
            "cells": reliability(results, "cell_calibration", seed),
        },
        "boundary_curve": boundary_curve(results, seed) if scores else [],
        "count_agreement": agreement(results, seed) if scores else {},
    }


def breakdown(results: Iterable[SlideResult], column: str) -> list[dict[str, Any]]:
    """Average the scored slides for each value of a column ("group", "stratum" or one of the sheet)."""
    results = scored(results)
    rows = []
    for value in sorted({result.value_of(column) for result in results}):
        scores = scores_of(result for result in results if result.value_of(column) == value)
        pooled = sum(scores, NOTHING)
        metrics = [score.values() for score in scores]
        rows.append(
            {
                "value": value,
                "n_slides": len(scores),
                "n_true": pooled.instances.n_true,
                "n_pred": pooled.instances.n_pred,
                **{name: float(np.mean([values[name] for values in metrics])) for name in metrics[0]},
                "pooled_dice": pooled.pixel.dice,
            }
        )
    return rows


def split_overview(results: Iterable[SlideResult]) -> list[dict[str, Any]]:
    """Count slides, groups and cells of each split and stratum, and list the groups."""
    parts: dict[tuple[str, str], list[SlideResult]] = {}
    for result in results:
        parts.setdefault((result.split, result.stratum), []).append(result)
    rows = [
        {
            "split": split,
            "stratum": stratum,
            "n_slides": len(part),
            "groups": sorted({result.group for result in part}),
            "labelled": any(result.labelled for result in part),
            "n_true": sum((result.facts or {}).get("n_objects") or 0 for result in part),
            "n_cells": sum(result.n_cells for result in part),
        }
        for (split, stratum), part in parts.items()
    ]
    order = [*SPLITS, *(row["split"] for row in rows)]
    return sorted(rows, key=lambda row: (order.index(row["split"]), row["stratum"]))


def spread(seeds: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Summarise the spread of the metrics over networks of several seeds.

    Parameters
    ----------
    seeds : DataFrame or None
        Columns seed (empty for the ensemble of all networks), split, and one per metric.

    Returns
    -------
    list of dict
        For each split and metric ("measure"): "seeds" (seed to value), their "mean" and sample standard
        "deviation", and "joined", the value of the ensemble.
    """
    if seeds is None:
        return []
    rows = []
    for split in dict.fromkeys(seeds["split"]):
        part = seeds[seeds["split"] == split]
        single, joined = part[part["seed"].notna()], part[part["seed"].isna()]
        for measure in [column for column in seeds if column not in ("seed", "split")]:
            values = dict(zip(single["seed"].astype(int).tolist(), single[measure].tolist(), strict=True))
            summary = {"mean": float(single[measure].mean()), "deviation": float(single[measure].std())}
            joint = {"seeds": values, **summary, "joined": float(joined[measure].iloc[0])}
            rows.append({"split": split, "measure": measure, **joint})
    return rows


def _further(result: SlideResult) -> dict[str, float | None]:
    return {
        "count_error": count_error(result),
        "count_error_percent": count_error_percent(result),
        "area_mm2": area_mm2(result),
        **{name: values_of(measure, [result])[0] for name, measure in MEASURES.items()},
    }


def _numbers(score: Score) -> dict[str, Any]:
    cells = score.instances
    return {
        "n_true": cells.n_true,
        "n_pred": cells.n_pred,
        **score.values(),
        **{f"pixel_{name}": count for name, count in asdict(score.pixel).items()},
        **{f"{name}_50": getattr(cells, name)[0] for name in ("tp", "fp", "fn")},
        "splits": cells.splits,
        "merges": cells.merges,
        "empty": score.empty,
    }
