"""A whole comparison: read, paired, compared and judged, and its JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slideunet.comparison.differences import (
    Difference,
    Verdict,
    check_metric,
    compared_metrics,
    differences_of,
    judge,
    seeds_of,
)
from slideunet.comparison.pairing import PairedSlide, Unpaired, pair_slides
from slideunet.comparison.read_runs import read_runs
from slideunet.comparison.runs import ComparedRun
from slideunet.scoring.intervals import FEWEST_GROUPS

FORMAT = 1
"""Of comparison.json: raise it when a key changes its meaning."""


@dataclass(frozen=True)
class Comparison:
    """Several runs on the same slides of one split; the first run is what the others are compared with.

    Attributes
    ----------
    runs : tuple[ComparedRun, ...]
    split, metric : str
        `metric` ranks the slides and is judged.
    pairs : tuple[PairedSlide, ...]
    unpaired : tuple[Unpaired, ...]
        Labelled slides of the split that are not in all runs.
    metrics : tuple of str
        Names of the compared metrics.
    lacking : mapping
        Metrics that are not compared, with the names of the runs without them.
    differences : tuple[Difference, ...]
        Of every run after the first, for every metric.
    verdicts : tuple[Verdict, ...]
        One for every run after the first; empty without a margin.
    seeds : sequence
        See `differences.seeds_of`.
    notes : tuple of str
        What a reader should know before citing a number.
    """

    runs: tuple[ComparedRun, ...]
    split: str
    metric: str
    pairs: tuple[PairedSlide, ...]
    unpaired: tuple[Unpaired, ...]
    metrics: tuple[str, ...]
    lacking: Mapping[str, Sequence[str]]
    differences: tuple[Difference, ...]
    verdicts: tuple[Verdict, ...]
    seeds: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...]

    @property
    def n_groups(self) -> int:
        """Groups of the paired slides."""
        return len({pair.group for pair in self.pairs})

    @property
    def passed(self) -> bool | None:
        """Whether no run is worse than the first by more than the margin; None without a margin."""
        return all(verdict.passed for verdict in self.verdicts) if self.verdicts else None

    def of(self, run: str) -> list[Difference]:
        """Return the differences of one run."""
        return [difference for difference in self.differences if difference.run == run]

    @property
    def lacking_by_runs(self) -> list[tuple[str, list[str]]]:
        """Return the runs without a metric, as "A and C", each with the names of the metrics."""
        named: dict[str, list[str]] = {}
        for metric, runs in self.lacking.items():
            named.setdefault(" and ".join(runs), []).append(metric)
        return list(named.items())

    def judged(self, run: str) -> Difference | None:
        """Return the difference of a run in `metric`; None if no slide has it in both runs."""
        return next((found for found in self.of(run) if found.metric == self.metric), None)


def compare_runs(
    folders: Sequence[Path], *, split: str = "test", metric: str = "ap50", margin: float | None = None
) -> Comparison:
    """Compare runs on the slides of a split that all of them have.

    Parameters
    ----------
    folders : sequence of Path
        Folders in which the workflow ran; all others are compared with the first.
    split : {"test", "val", "train", "predict"}
    metric : str
        Name of a metric as in metrics.csv.
    margin : float, optional
        How much worse a run may be in `metric`.

    Raises
    ------
    InputError
        If the runs cannot be compared, with all reasons.
    DamagedDataError
        If a file of a run cannot be read.
    """
    runs = read_runs(folders)
    pairs, unpaired = pair_slides(runs, split)
    metrics, lacking = compared_metrics(pairs)
    check_metric(metric, metrics, lacking)
    differences = differences_of(pairs, runs, metrics)
    judged = [judge(d, margin) for d in differences if d.metric == metric and margin is not None]
    return Comparison(
        runs=tuple(runs),
        split=split,
        metric=metric,
        pairs=tuple(pairs),
        unpaired=tuple(unpaired),
        metrics=tuple(metrics),
        lacking={name: [runs[number].name for number in without] for name, without in lacking.items()},
        differences=tuple(differences),
        verdicts=tuple(judged),
        seeds=seeds_of(runs, split),
        notes=tuple(_notes(runs, pairs)),
    )


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return comparison.json: runs, differences, verdicts, and the metrics of every slide in every run."""
    names = [run.name for run in comparison.runs]
    return {
        "format": FORMAT,
        "split": comparison.split,
        "metric": comparison.metric,
        "passed": comparison.passed,
        "runs": [
            {
                "name": run.name,
                "folder": str(run.folder),
                "title": run.summary.get("title"),
                "date": run.summary.get("date"),
                "models": run.models,
                "metrics_versions": list(run.metrics_versions),
                "versions": run.summary.get("versions", {}),
            }
            for run in comparison.runs
        ],
        "n_slides": len(comparison.pairs),
        "n_groups": comparison.n_groups,
        "differences": [asdict(difference) for difference in comparison.differences],
        "verdicts": [asdict(verdict) for verdict in comparison.verdicts],
        "seeds": list(comparison.seeds),
        "slides": [
            {
                "slide": pair.slide,
                "group": pair.group,
                "content": pair.slides[0].content,
                "ids": {name: slide.slide for name, slide in zip(names, pair.slides, strict=True)},
                "values": {
                    metric: {n: s.values.get(metric) for n, s in zip(names, pair.slides, strict=True)}
                    for metric in comparison.metrics
                },
            }
            for pair in comparison.pairs
        ],
        "unpaired": [asdict(entry) for entry in comparison.unpaired],
        "lacking": dict(comparison.lacking),
        "notes": list(comparison.notes),
    }


def _notes(runs: Sequence[ComparedRun], pairs: Sequence[PairedSlide]) -> list[str]:
    notes = []
    versions = {run.name: " and ".join(run.metrics_versions) for run in runs if run.metrics_versions}
    if len(set(versions.values())) > 1:
        listed = ", ".join(f"{name} by {version}" for name, version in versions.items())
        notes.append(
            f"The runs were scored by different versions of the metrics ({listed}), so a difference may come "
            "from a definition. Run this version of the workflow in all folders."
        )
    notes += [
        f"{run.name} has the same model as {runs[0].name}."
        for run in runs[1:]
        if run.models and run.models == runs[0].models
    ]
    groups = len({pair.group for pair in pairs})
    if groups < FEWEST_GROUPS:
        notes.append(
            f"No intervals: they need at least {FEWEST_GROUPS} groups, and the number of groups is {groups} "
            f"({len(pairs)} compared slide{'s' if len(pairs) > 1 else ''})."
        )
    return notes
