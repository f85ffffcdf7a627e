"""Reading the results of runs that are compared, or saying what they lack."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slideunet import quarantine
from slideunet.comparison.metrics import metrics_of_slide
from slideunet.comparison.runs import ComparedRun, ComparedSlide, in_short
from slideunet.errors import InputError, collected
from slideunet.inputs.text_table import read_table
from slideunet.report.results import SlideResult, read_score
from slideunet.scoring.score_slide import METRICS_VERSION
from slideunet.stores.manifests import read_manifest

NEEDED = {
    "split.tsv": ("slide", "group", "split"),
    "slides": ("content", "truth_content", "mpp", "shape"),
    "metrics": ("values",),
}
"""Columns or keys that a comparison needs of results/split.tsv and the files of two folders."""
OLDER = (
    "An older version of slideunet wrote it: run this version of the workflow in that folder, then compare."
)

Files = dict[str, dict[str, Any]]


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """Read all runs; the first is "A".

    Parameters
    ----------
    folders : sequence of Path
        Folders in which the workflow ran, or their `results`.

    Raises
    ------
    InputError
        With the problems of all folders: no run, an unfinished one, or files of an older version.
    DamagedDataError
        If a file exists but cannot be read.
    """
    problems: list[str] = []
    if len(folders) < 2:
        problems.append("A comparison needs at least two runs. Name them as A=folder B=folder.")
    runs = []
    for number, folder in enumerate(folders):
        with collected(problems):
            runs.append(_read_run(chr(ord("A") + number), folder))
    if problems:
        raise InputError(problems)
    return runs


def _read_run(name: str, folder: Path) -> ComparedRun:
    results = next((f for f in (folder / "results", folder) if (f / "split.tsv").is_file()), None)
    if results is None:
        reason = "it has no results/split.tsv" if folder.is_dir() else "there is no such folder"
        raise InputError(
            f"{name}={folder}: is no run of slideunet, {reason}. Name the folder in which the workflow ran "
            "(`--directory`, or OUT of `make predict`)."
        )
    where, table = f"{name}={folder}", read_table(results / "split.tsv")
    if missing := [column for column in NEEDED["split.tsv"] if column not in table.header]:
        raise InputError(f"{where}: split.tsv lacks the columns {', '.join(missing)}. {OLDER}")
    quarantined = frozenset(quarantine.read(results / "quarantine"))
    rows = [row for row in table.rows if row["slide"] not in quarantined]
    files = {kind: _facts(results / kind, rows) for kind in ("slides", "predictions", "metrics")}
    if problems := _problems(where, rows, files):
        raise InputError(problems)
    summary = results / "report" / "summary.json"
    return ComparedRun(
        name=name,
        folder=folder,
        slides=tuple(_slide(row, results, files) for row in rows),
        quarantined=quarantined,
        summary=read_manifest(summary) if summary.is_file() else {},
    )


def _facts(folder: Path, rows: Sequence[Mapping[str, str]]) -> Files:
    """Read the files of slides, as far as they exist."""
    paths = {row["slide"]: folder / f"{row['slide']}.json" for row in rows}
    return {slide: read_manifest(path) for slide, path in paths.items() if path.is_file()}


def _problems(where: str, rows: Sequence[Mapping[str, str]], files: Mapping[str, Files]) -> list[str]:
    """Return what an older version did not write, and the slides that an unfinished run lacks."""
    slides, scores = files["slides"], files["metrics"]
    problems = [
        f"{where}: results/{kind} lacks `{key}` for {in_short(without)}. {OLDER}"
        for kind in ("slides", "metrics")
        for key in NEEDED[kind]
        if (without := [slide for slide, facts in files[kind].items() if key not in facts])
    ]
    unfinished = {
        "not converted": [row["slide"] for row in rows if row["slide"] not in slides],
        "without scores": [
            slide for slide in slides if slides[slide].get("truth_content") and slide not in scores
        ],
    }
    return [*problems, *_other_version(where, scores)] + [
        f"{where}: the run is not finished: {in_short(missing)} {'is' if len(missing) == 1 else 'are'} "
        f"{what}. Run the workflow in that folder to its end, then compare."
        for what, missing in unfinished.items()
        if missing
    ]


def _other_version(where: str, scores: Files) -> list[str]:
    """Return what forbids a comparison of scores by other definitions than this version's."""
    versions = {slide: str(facts.get("metrics_version", "unknown")) for slide, facts in scores.items()}
    other = {slide: version for slide, version in versions.items() if version != METRICS_VERSION}
    if not other:
        return []
    listed = " and ".join(sorted(set(other.values())))
    return [
        f"{where}: the scores of {in_short(list(other))} are by version {listed} of the metrics, this "
        f"program has version {METRICS_VERSION}. Numbers by other definitions cannot be compared. Run this "
        "version of the workflow in that folder, then compare: current images and predictions stay."
    ]


def _slide(row: Mapping[str, str], results: Path, files: Mapping[str, Files]) -> ComparedSlide:
    slide = row["slide"]
    facts = files["slides"][slide]
    scores = files["metrics"].get(slide)
    prediction = files["predictions"].get(slide)
    result = SlideResult(
        slide=slide,
        group=row["group"],
        stratum=row.get("stratum", ""),
        split=row["split"],
        content=facts["content"],
        manifest=results / "slides" / f"{slide}.json",
        prediction_manifest=results / "predictions" / f"{slide}.json",
        facts=facts,
        prediction=prediction if prediction and "cells" in prediction else None,
        score=read_score(results / "metrics" / f"{slide}.json")[0] if scores else None,
    )
    return ComparedSlide(result, metrics_of_slide(result, scores["values"]) if scores else {})
