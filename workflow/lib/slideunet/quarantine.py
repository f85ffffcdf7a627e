"""Slides that cannot be used although the run goes on: who they are, why, and how the run then ends.

A slide that is only to be predicted is set aside, so that the other 499 are done. One that the training or
its scores depend on stops the run: leaving it out would change the result of all others without a word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from slideunet.errors import SlideunetError
from slideunet.stores.manifests import read_manifest, write_manifest


@dataclass(frozen=True)
class Quarantined:
    """Why a slide was set aside, and the exit code that its problem has by itself."""

    problems: tuple[str, ...]
    exit_code: int


def put(folder: Path, slide: str, error: SlideunetError) -> None:
    """Set a slide aside."""
    write_manifest(folder / f"{slide}.json", {"problems": list(error.problems), "exit_code": error.exit_code})


def release(folder: Path, slides: Iterable[str]) -> None:
    """Take slides back, before they are looked at again."""
    for slide in slides:
        (folder / f"{slide}.json").unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Quarantined]:
    """Return all slides that are set aside."""
    found = {path.stem: read_manifest(path) for path in sorted(folder.glob("*.json"))}
    return {
        slide: Quarantined(tuple(facts["problems"]), facts["exit_code"]) for slide, facts in found.items()
    }


def account(quarantined: Mapping[str, Quarantined]) -> tuple[int, str]:
    """Sum up: the gravest exit code, 0 when there is none, and what to tell the user."""
    if not quarantined:
        return 0, ""
    lines = [f"  - {problem}" for one in quarantined.values() for problem in one.problems]
    counted = "1 slide" if len(quarantined) == 1 else f"{len(quarantined)} slides"
    heading = f"{counted} could not be used, and the results are without:"
    code = max(one.exit_code for one in quarantined.values())
    return code, "\n".join([heading, *lines])
