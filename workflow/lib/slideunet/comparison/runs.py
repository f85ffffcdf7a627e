"""Runs that are compared, and their slides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slideunet.report.results import SlideResult

SHOWN = 8


@dataclass(frozen=True)
class ComparedSlide:
    """One slide of a run.

    Attributes
    ----------
    result : SlideResult
    values : mapping of str to float
        The metrics that the slide has, by their names in metrics.csv; empty if it was not scored.
    """

    result: SlideResult
    values: Mapping[str, float]

    @property
    def slide(self) -> str:
        """Id of the slide in its run."""
        return self.result.slide

    @property
    def content(self) -> str:
        """Sha256 of the pixels."""
        return str((self.result.facts or {})["content"])

    @property
    def truth(self) -> str | None:
        """Sha256 of the ground truth; None without."""
        return (self.result.facts or {})["truth_content"]

    @property
    def resolution(self) -> tuple[float | None, float]:
        """Micrometres per pixel of the working grid, and original pixels per pixel of it."""
        facts = self.result.facts or {}
        return facts["mpp"], facts.get("scale", 1.0)


@dataclass(frozen=True)
class ComparedRun:
    """One run.

    Attributes
    ----------
    name : str
        "A", "B" ...
    folder : Path
        As the user gave it.
    slides : tuple[ComparedSlide, ...]
        In the order of its split table.
    quarantined : frozenset of str
        Ids of the slides that the run skipped.
    summary : mapping
        Content of summary.json; empty without.
    """

    name: str
    folder: Path
    slides: tuple[ComparedSlide, ...]
    quarantined: frozenset[str]
    summary: Mapping[str, Any]

    @property
    def models(self) -> list[str]:
        """Sha256 of the weights that predicted the slides, each once."""
        found = (slide.result.prediction for slide in self.slides)
        return sorted({str(facts.get("model_sha256")) for facts in found if facts})

    @property
    def arithmetic(self) -> list[str]:
        """Engines and precisions that predicted the slides, as "openvino bf16", each once."""
        found = (slide.result.prediction for slide in self.slides)
        return sorted({f"{facts.get('engine')} {facts.get('precision')}" for facts in found if facts})


def in_short(names: Sequence[str]) -> str:
    """List the first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
