"""Quarantine: slides that a run skips, with the reasons and the exit code of the run.

A faulty slide that is only predicted is quarantined, so that the others are processed. One that training or
scores depend on stops the run, because skipping it would silently change the results.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from slideunet.errors import SlideunetError
from slideunet.stores.manifests import read_manifest, write_manifest


@dataclass(frozen=True)
class Quarantined:
    """The problems of a quarantined slide, and their exit code."""

    problems: tuple[str, ...]
    exit_code: int


def put(folder: Path, slide: str, error: SlideunetError) -> None:
    """Quarantine a slide."""
    write_manifest(folder / f"{slide}.json", {"problems": list(error.problems), "exit_code": error.exit_code})


def release(folder: Path, slides: Iterable[str]) -> None:
    """Release slides before they are checked again."""
    for slide in slides:
        (folder / f"{slide}.json").unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Quarantined]:
    """Return all quarantined slides."""
    manifests = {path.stem: read_manifest(path) for path in sorted(folder.glob("*.json"))}
    return {
        slide: Quarantined(tuple(facts["problems"]), facts["exit_code"]) for slide, facts in manifests.items()
    }


def exit_summary(quarantined: Mapping[str, Quarantined]) -> tuple[int, str]:
    """Return the highest exit code, 0 if no slide is quarantined, and a message for the user."""
    if not quarantined:
        return 0, ""
    lines = [f"  - {problem}" for slide in quarantined.values() for problem in slide.problems]
    heading = (
        "1 slide was skipped; it is not in the results:"
        if len(quarantined) == 1
        else f"{len(quarantined)} slides were skipped; they are not in the results:"
    )
    return max(slide.exit_code for slide in quarantined.values()), "\n".join([heading, *lines])
