"""All that the report and summary.json say about the origin of a run."""

import datetime
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slideunet.provenance.machine import Machine, this_machine
from slideunet.provenance.rule_costs import RuleCost, costs_of_rules, read_jobs
from slideunet.provenance.workflow_state import WorkflowState, workflow_state
from slideunet.stores.fingerprint import fingerprint


@dataclass(frozen=True)
class RunProvenance:
    """Origin of a run.

    Attributes
    ----------
    workflow : WorkflowState
    machine : Machine
        Of the job that writes the report.
    started, ended : str or None
        When its first job started and its last one before the report ended: ISO 8601, UTC. None without jobs.
    rules : tuple of RuleCost
        The longest first.
    """

    workflow: WorkflowState
    machine: Machine
    started: str | None
    ended: str | None
    rules: tuple[RuleCost, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `provenance` in summary.json."""
        return asdict(self)


def gather_provenance(root: Path, benchmarks: Path, names: Collection[str], trained: bool) -> RunProvenance:
    """Ask git, the machine and the benchmarks of the jobs.

    Parameters
    ----------
    root : Path
        Folder of the workflow.
    benchmarks, names, trained
        See `rule_costs.read_jobs`.
    """
    jobs = read_jobs(benchmarks, names, trained)
    return RunProvenance(
        workflow=workflow_state(root),
        machine=this_machine(),
        started=_utc(min(job.started for job in jobs)) if jobs else None,
        ended=_utc(max(job.ended for job in jobs)) if jobs else None,
        rules=tuple(costs_of_rules(jobs)),
    )


def digest_of_data(slides: Iterable[tuple[str, str | None, str | None]]) -> str:
    """Return one sha256 for the images and labels of all slides, whatever their order.

    `slides` has the id of each slide, and the sha256 of its pixels and of its labels.
    """
    return fingerprint(data=sorted([slide, image or "", truth or ""] for slide, image, truth in slides))


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
