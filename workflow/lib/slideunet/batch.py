"""Processing the slides of a batch, in which a failing slide does not stop the others."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from slideunet.errors import SlideunetError
from slideunet.stores.manifests import read_manifest, write_manifest

_LOG_INTERVAL = 16  # slides

_Work = TypeVar("_Work")


def each_slide(slides: Mapping[str, _Work], do: Callable[[str, _Work], bool]) -> dict[str, bool]:
    """Process every slide and collect failures.

    Parameters
    ----------
    slides : mapping
        Slide id to the second argument of `do`.
    do : callable
        Returns whether there was anything to do.

    Returns
    -------
    dict
        Slide id to the result of `do`.

    Raises
    ------
    SlideunetError
        After the last slide: the type with the highest exit code, with the messages of all failures.
    """
    done: dict[str, bool] = {}
    failures: list[SlideunetError] = []
    for number, (slide, work) in enumerate(slides.items(), start=1):
        try:
            done[slide] = do(slide, work)
        except SlideunetError as error:
            failures.append(error)
            continue
        if done[slide] and number % _LOG_INTERVAL == 0:
            logging.info(f"{number} of {len(slides)} slides")
    if failures:
        kind = max((type(failure) for failure in failures), key=lambda kind: kind.exit_code)
        raise kind(problem for failure in failures for problem in failure.problems)
    return done


def counted(done: Mapping[str, bool], work: str) -> str:
    """Return a log line: how many slides had this work to do, and how many were up to date."""
    new = sum(done.values())
    old = len(done) - new
    return f"{new} slide{'' if new == 1 else 's'} {work}" + (f", {old} up to date" if old else "")


def read_batch(batch: Path) -> list[str]:
    """Return the slides that an earlier stage finished, without quarantined ones."""
    return list(read_manifest(batch))


def finish_batch(batch: Path, folder: Path, slides: Iterable[str]) -> None:
    """Write the manifest of a batch, which Snakemake waits for: the fingerprints of its slides.

    `folder` holds the manifests of the slides.
    """
    write_manifest(batch, {slide: read_manifest(folder / f"{slide}.json")["fingerprint"] for slide in slides})
