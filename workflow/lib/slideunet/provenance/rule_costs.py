"""Time and memory of every rule, from the files that Snakemake writes after each job (`benchmark:`)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd

MIB = 1.048576  # Snakemake measures in 2^20 bytes.
_NOT_BEFORE_REPORT = ("build_report", "compare_earlier", "share_cells", "drop_parts", "drop_labels")
TRAINING_RULES = ("train_unet", "join_seeds", "score_seeds")


@dataclass(frozen=True)
class JobCost:
    """One job.

    Attributes
    ----------
    rule : str
    started, ended : float
        Seconds since the epoch.
    cpu_seconds, memory_mb : float or None
        Processor time of all its processes, and the most memory (resident set) that they had at one time, in
        10^6 bytes; None if the job was over before Snakemake looked.
    """

    rule: str
    started: float
    ended: float
    cpu_seconds: float | None
    memory_mb: float | None


@dataclass(frozen=True)
class RuleCost:
    """All jobs of a rule.

    Attributes
    ----------
    rule : str
    jobs : int
    seconds : float
        Sum over the jobs, some of which may have run at the same time.
    cpu_seconds : float or None
        Sum over the jobs that Snakemake measured.
    memory_mb : float or None
        Of the job that had most, in 10^6 bytes.
    """

    rule: str
    jobs: int
    seconds: float
    cpu_seconds: float | None
    memory_mb: float | None


def read_jobs(folder: Path, names: Collection[str], trained: bool) -> list[JobCost]:
    """Read the costs of the jobs that led to the report.

    Parameters
    ----------
    folder : Path
        `benchmarks/` with `{rule}.tsv`, `{rule}/{name}.tsv` and `{rule}/{name}-{part}.tsv`. Files of earlier
        runs may be among them.
    names : collection of str
        Batches and seeds of this run.
    trained : bool
        Whether this run trained its model.

    Notes
    -----
    A job ended when its file was written. A repeated job has the cost of its last attempt. `build_report` is
    not over yet, and `share_cells`, `drop_parts` and `drop_labels` do not lead to the report.
    """
    jobs = []
    for path in sorted(folder.rglob("*.tsv")):
        single = path.parent == folder
        rule = path.stem if single else path.parent.name
        of_run = single or bool({path.stem, path.stem.rpartition("-")[0]} & set(names))
        left_out = (*_NOT_BEFORE_REPORT, *(() if trained else TRAINING_RULES))
        if of_run and rule not in left_out and (job := _read_job(path, rule)):
            jobs.append(job)
    return jobs


def costs_of_rules(jobs: Iterable[JobCost]) -> list[RuleCost]:
    """Add up the jobs of each rule, the longest rule first."""
    ordered = sorted(jobs, key=lambda job: job.rule)
    costs = [_sum(rule, list(of_rule)) for rule, of_rule in groupby(ordered, key=lambda job: job.rule)]
    return sorted(costs, key=lambda cost: (-cost.seconds, cost.rule))


def _sum(rule: str, jobs: list[JobCost]) -> RuleCost:
    cpu = [job.cpu_seconds for job in jobs if job.cpu_seconds is not None]
    return RuleCost(
        rule=rule,
        jobs=len(jobs),
        seconds=round(sum(job.ended - job.started for job in jobs), 2),
        cpu_seconds=round(sum(cpu), 2) if cpu else None,
        memory_mb=max((job.memory_mb for job in jobs if job.memory_mb is not None), default=None),
    )


def _read_job(path: Path, rule: str) -> JobCost | None:
    """Return the cost of a job; None for a file that is empty or has no duration."""
    try:
        table = pd.read_csv(path, sep="\t", na_values=["-"])
    except (ValueError, UnicodeDecodeError):
        return None
    columns = table.reindex(columns=["s", "max_rss", "cpu_time"]).apply(pd.to_numeric, errors="coerce")
    if not len(columns) or columns["s"].isna().iloc[-1]:
        return None
    seconds, ended = float(columns["s"].iloc[-1]), path.stat().st_mtime
    memory, cpu = (None if pd.isna(value) else float(value) for value in columns.iloc[-1, 1:])
    # Less than a Python process needs: the job was over before it was measured.
    if memory is not None and memory < 1:
        memory, cpu = None, None
    return JobCost(rule, ended - seconds, ended, cpu, None if memory is None else round(memory * MIB, 1))
