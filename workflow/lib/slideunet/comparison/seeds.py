"""Networks of several seeds compared with their spread."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slideunet.comparison.runs import ComparedRun


def seeds_of(runs: Sequence[ComparedRun], split: str) -> list[dict[str, Any]]:
    """Compare networks that were trained with several seeds.

    Returns
    -------
    list of dict
        For each measure that a run has of several seeds: "measure"; "runs", by the name of the run the
        "seeds" (seed to value), their "mean" and sample standard "deviation", and "joined", the value of the
        ensemble; "differences", by the name of each later run the "difference" of the means from the first
        run and its 95 % "interval" over seeds (Welch 1947), where both runs have at least two.
    """
    rows = [(run.name, row) for run in runs for row in run.summary.get("seeds", ()) if row["split"] == split]
    found = []
    for measure in dict.fromkeys(row["measure"] for _, row in rows):
        own = {name: row for name, row in rows if row["measure"] == measure}
        first = own.get(runs[0].name)
        differences = {name: _between(first, row) for name, row in own.items() if first and row is not first}
        kept = ("seeds", "mean", "deviation", "joined")
        spreads = {name: {key: row[key] for key in kept} for name, row in own.items()}
        found.append({"measure": measure, "runs": spreads, "differences": differences})
    return found


def _between(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    from scipy.stats import ttest_ind

    a, b = list(first["seeds"].values()), list(other["seeds"].values())
    interval = None
    # Equal values of all seeds have no spread to estimate.
    if min(len(a), len(b)) > 1 and np.ptp(a) + np.ptp(b) > 0:
        low, high = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        interval = (float(low), float(high))
    return {"difference": float(np.mean(b) - np.mean(a)), "interval": interval}
