"""A whole comparison: read, paired, compared and judged, and its JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slideunet.comparison.differences import (
    Difference,
    Verdict,
    check_metric,
    differences_of,
    judge,
    metrics_of_pairs,
)
from slideunet.comparison.pairing import PairedSlide, Unpaired, pair_slides
from slideunet.comparison.read_runs import read_runs
from slideunet.comparison.runs import ComparedRun, in_short
from slideunet.comparison.seeds import seeds_of
from slideunet.scoring.intervals import FEWEST_GROUPS
from slideunet.scoring.score_slide import METRICS_VERSION

FORMAT = 2
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
    differences : tuple[Difference, ...]
        Of every run after the first, for every metric.
    verdicts : tuple[Verdict, ...]
        One for every run after the first; empty without a margin.
    seeds : sequence
        See `seeds.seeds_of`.
    notes : tuple of str
        What a reader should know before citing a number.
    """

    runs: tuple[ComparedRun, ...]
    split: str
    metric: str
    pairs: tuple[PairedSlide, ...]
    unpaired: tuple[Unpaired, ...]
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

    def judged(self, run: str) -> Difference:
        """Return the difference of a run in `metric`."""
        return next(found for found in self.of(run) if found.metric == self.metric)


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
        Name of a metric as in metrics.csv for the mean over slides, or with "pooled_" before it.
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
    metrics = metrics_of_pairs(pairs)
    differences = differences_of(pairs, runs, metrics)
    check_metric(metric, differences, len(runs))
    judged = [judge(d, margin) for d in differences if d.metric == metric and margin is not None]
    return Comparison(
        runs=tuple(runs),
        split=split,
        metric=metric,
        pairs=tuple(pairs),
        unpaired=tuple(unpaired),
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
        "runs": [_run_facts(run) for run in comparison.runs],
        "n_slides": len(comparison.pairs),
        "n_groups": comparison.n_groups,
        "differences": [asdict(difference) for difference in comparison.differences],
        "verdicts": [asdict(verdict) for verdict in comparison.verdicts],
        "seeds": list(comparison.seeds),
        "slides": [_slide_facts(pair, names) for pair in comparison.pairs],
        "unpaired": [asdict(entry) for entry in comparison.unpaired],
        "notes": list(comparison.notes),
    }


def _run_facts(run: ComparedRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "folder": str(run.folder),
        "title": run.summary.get("title"),
        "date": run.summary.get("date"),
        "models": run.models,
        "arithmetic": run.arithmetic,
        "metrics_version": METRICS_VERSION,
        "versions": run.summary.get("versions", {}),
    }


def _slide_facts(pair: PairedSlide, names: Sequence[str]) -> dict[str, Any]:
    own = dict(zip(names, pair.slides, strict=True))
    metrics = dict.fromkeys(metric for slide in pair.slides for metric in slide.values)
    return {
        "slide": pair.slide,
        "group": pair.group,
        "content": pair.slides[0].content,
        "ids": {name: slide.slide for name, slide in own.items()},
        "values": {
            metric: {name: slide.values.get(metric) for name, slide in own.items()} for metric in metrics
        },
    }


def _notes(runs: Sequence[ComparedRun], pairs: Sequence[PairedSlide]) -> list[str]:
    notes = [
        f"{run.name} has the same model as {runs[0].name}."
        for run in runs[1:]
        if run.models and run.models == runs[0].models
    ]
    arithmetic = {run.name: " and ".join(run.arithmetic) for run in runs if run.arithmetic}
    if len(set(arithmetic.values())) > 1:
        listed = ", ".join(f"{name} by {how}" for name, how in arithmetic.items())
        notes.append(
            f"The runs were predicted by different engines or precisions ({listed}), which changes a few "
            "cells. To compare models alone, set the same prediction.engine and prediction.precision in all."
        )
    if nowhere := frozenset.intersection(*(run.quarantined for run in runs)):
        notes.append(f"In quarantine in all runs, so not compared: {in_short(sorted(nowhere))}.")
    groups = len({pair.group for pair in pairs})
    if groups < FEWEST_GROUPS:
        notes.append(
            f"No intervals: they need at least {FEWEST_GROUPS} groups, and the number of groups is {groups} "
            f"({len(pairs)} compared slide{'s' if len(pairs) > 1 else ''})."
        )
    return notes
