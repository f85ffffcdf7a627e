"""The numbers of the report: a row per slide, and means, pooled values and intervals over slides."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from slideunet.report.results import SlideResult
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.intervals import Interval, interval_of_mean, interval_of_pooled_dice
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import Score

SPLITS = ("train", "val", "test", "predict")
NOTHING = Score(PixelCounts(), PixelCounts(), PixelCounts(), InstanceCounts())
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def scored(results: Iterable[SlideResult], split: str | None = None) -> list[SlideResult]:
    """Select the slides that have scores, of one side of the split or of all."""
    return [r for r in results if r.score is not None and split in (None, r.split)]


def scores_of(results: Iterable[SlideResult]) -> list[Score]:
    """Take the scores of slides, leaving out those without."""
    return [r.score for r in results if r.score is not None]


def metrics_table(results: Iterable[SlideResult], by: Sequence[str] = ()) -> pd.DataFrame:
    """Make metrics.csv: a row per scored slide with ids, values, counts and the `by` columns of the sheet.

    Text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    rows = [
        {
            "slide": result.slide,
            "group": result.group,
            "split": result.split,
            "stratum": result.stratum,
            **_numbers(result.score),
            **{column: result.value_of(column) for column in by},
        }
        for result in results
        if result.score is not None
    ]
    columns = list(dict.fromkeys(["slide", "group", "split", "stratum", *_numbers(NOTHING), *by]))
    return pd.DataFrame(rows, columns=columns).map(guard_formula)


def guard_formula(value: object) -> object:
    """Prefix text that starts like a spreadsheet formula with an apostrophe; leave numbers alone."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def summarise(results: Sequence[SlideResult], *, seed: int = 0) -> dict[str, Any]:
    """Summarise the scored slides among `results`.

    Returns
    -------
    dict
        n_slides, n_groups, n_true, n_pred; "mean": each metric averaged over slides; "intervals": for each
        the 95 % interval over groups or None; "pooled": the metrics of all pixels and cells together;
        "pooled_dice_interval"; "counts". Without a scored slide the first four are 0, the rest empty.
    """
    results = scored(results)
    scores = scores_of(results)
    groups = [result.group for result in results]
    pooled = sum(scores[1:], scores[0]) if scores else NOTHING
    counts = {
        "n_slides": len(results),
        "n_groups": len(set(groups)),
        "n_true": pooled.instances.n_true,
        "n_pred": pooled.instances.n_pred,
    }
    if not scores:
        return {
            **counts,
            "mean": {},
            "intervals": {},
            "pooled": {},
            "pooled_dice_interval": None,
            "counts": {},
        }
    values = pd.DataFrame([score.values() for score in scores])
    return {
        **counts,
        "mean": {name: float(values[name].mean()) for name in values},
        "intervals": {name: _plain(interval_of_mean(values[name], groups, seed=seed)) for name in values},
        "pooled": pooled.values(),
        "pooled_dice_interval": _plain(interval_of_pooled_dice([s.pixel for s in scores], groups, seed=seed)),
        "counts": {name: part for name, part in pooled.to_json().items() if name not in ("values", "empty")},
    }


def breakdown(results: Iterable[SlideResult], column: str) -> list[dict[str, Any]]:
    """Average the scored slides for each value of a column ("group", "stratum" or one of the sheet)."""
    results = scored(results)
    rows = []
    for value in sorted({result.value_of(column) for result in results}):
        scores = scores_of(result for result in results if result.value_of(column) == value)
        pooled = sum(scores[1:], scores[0])
        means = {
            name: float(np.mean([score.values()[name] for score in scores])) for name in scores[0].values()
        }
        counts = {
            "n_slides": len(scores),
            "n_true": pooled.instances.n_true,
            "n_pred": pooled.instances.n_pred,
        }
        rows.append({"value": value, **counts, **means, "pooled_dice": pooled.pixel.dice})
    return rows


def split_overview(results: Iterable[SlideResult]) -> list[dict[str, Any]]:
    """Count slides, groups and objects per side of the split and stratum, and name the groups."""
    table = pd.DataFrame(
        [
            {
                "split": r.split,
                "stratum": r.stratum,
                "group": r.group,
                "n_true": (r.facts or {}).get("n_objects") or 0,
                "labelled": r.labelled,
                "n_cells": r.n_cells,
            }
            for r in results
        ]
    )
    if table.empty:
        return []
    rows = []
    for (split, stratum), part in table.groupby(["split", "stratum"], sort=False):
        names = sorted(part["group"].unique())
        sums = {
            "labelled": bool(part["labelled"].any()),
            "n_true": int(part["n_true"].sum()),
            "n_cells": int(part["n_cells"].sum()),
        }
        rows.append({"split": split, "stratum": stratum, "n_slides": len(part), "groups": names, **sums})
    order = {split: place for place, split in enumerate(SPLITS)}
    return sorted(rows, key=lambda row: (order.get(row["split"], len(order)), row["stratum"]))


def spread(seeds: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Tell how far apart the networks of several seeds are.

    Parameters
    ----------
    seeds : DataFrame or None
        Columns seed (empty for the mean of all networks), split, and a measure in each other one.

    Returns
    -------
    list of dict
        Of each side and measure: "seeds" (seed to value), "mean" and "deviation" (the sample's) of them, and
        "joined", the value of the model.
    """
    if seeds is None:
        return []
    single, joined = seeds[seeds["seed"].notna()], seeds[seeds["seed"].isna()]
    rows = []
    for split in dict.fromkeys(seeds["split"]):
        part, whole = (table[table["split"] == split] for table in (single, joined))
        for measure in [column for column in seeds if column not in ("seed", "split")]:
            values = dict(zip(part["seed"].astype(int).tolist(), part[measure].tolist(), strict=True))
            summary = {"mean": float(part[measure].mean()), "deviation": float(part[measure].std())}
            joint = {"seeds": values, **summary, "joined": float(whole[measure].iloc[0])}
            rows.append({"split": split, "measure": measure, **joint})
    return rows


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


def _plain(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
