"""The numbers of the report's figures as tables, for CSV files beside the page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from slideunet.report.results import SlideResult
from slideunet.report.tables import guard_formula, scored

INTERVAL = "_interval"
LOW, HIGH = "_low", "_high"
"""Endings of the columns of an interval."""


def csv_of(table: pd.DataFrame) -> str:
    """Return a table as CSV; text that a spreadsheet would run as a formula gets an apostrophe."""
    return table.map(guard_formula).to_csv(index=False, lineterminator="\n")


def metrics_of_slides(results: Iterable[SlideResult], names: Sequence[str]) -> pd.DataFrame:
    """Return these metrics of every scored slide."""
    rows = []
    for result in scored(results):
        values = result.score.values() if result.score else {}
        rows.append({"slide": result.slide, "group": result.group} | {name: values[name] for name in names})
    return pd.DataFrame(rows, columns=["slide", "group", *names])


def counts_of_slides(results: Iterable[SlideResult]) -> pd.DataFrame:
    """Return true and predicted cells of every scored slide, their mean, and predicted minus true."""
    counts = [(r.slide, r.group, r.score.instances) for r in results if r.score is not None]
    rows = [
        (slide, group, own.n_true, own.n_pred, (own.n_true + own.n_pred) / 2, own.n_pred - own.n_true)
        for slide, group, own in counts
    ]
    return pd.DataFrame(rows, columns=["slide", "group", "true", "predicted", "mean", "difference"])


def with_limits(counts: pd.DataFrame, limits: Mapping[str, Any]) -> pd.DataFrame:
    """Return `counts_of_slides` with the bias and the limits of `agreement`, the same in every row."""
    return counts.drop(columns=["true", "predicted"]).assign(**_flat(limits))


def flattened(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table, every interval as two columns; None is left empty."""
    return pd.DataFrame([_flat(row) for row in rows])


def of_both_kinds(calibration: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """Return the bins of foreground pixels and of cells, one table with a column "of"."""
    return flattened([{"of": name} | dict(row) for name, rows in calibration.items() for row in rows])


def in_micrometres(
    table: pd.DataFrame, mpp: float | None, columns: Mapping[str, str], power: int
) -> pd.DataFrame:
    """Add columns in micrometres (power 1) or square micrometres (2), where the pixel size is known."""
    if mpp is None:
        return table
    return table.assign(**{new: table[old] * mpp**power for old, new in columns.items() if old in table})


def intervals_in_words(table: pd.DataFrame, drawn: str, n_groups: int, fewest: int) -> str:
    """Say of a figure how its intervals are drawn ("shaded", "bars"), or that there is none, and why."""
    ends = table[[name for name in table if str(name).endswith(LOW)]]
    if ends.notna().to_numpy().any():
        some = "" if ends.notna().to_numpy().all() else ", where there is one"
        return f"{drawn}: 95 % intervals{some}"
    if n_groups < fewest:
        return f"no intervals, because fewer than {fewest} groups were tested"
    return "no intervals, because no resample of the groups has a value"


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith(INTERVAL):
            low, high = value or (None, None)
            stem = name.removesuffix(INTERVAL)
            flat |= {stem + LOW: low, stem + HIGH: high}
        else:
            flat[name] = value
    return flat
