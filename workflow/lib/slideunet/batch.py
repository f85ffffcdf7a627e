"""Working through the slides of a batch: one that fails does not keep the others from being done."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from slideunet.errors import SlideunetError
from slideunet.stores.manifests import read_manifest, write_manifest

_EVERY = 16  # How often to say how far the batch is.

Work = TypeVar("Work")


def each_slide(slides: Mapping[str, Work], do: Callable[[str, Work], bool]) -> dict[str, bool]:
    """Do something with every slide and collect what fails.

    Parameters
    ----------
    slides : mapping
        Slide id to whatever `do` needs.
    do : callable
        Returns whether there was anything to do.

    Returns
    -------
    dict
        Slide id to what `do` returned.

    Raises
    ------
    SlideunetError
        Of the gravest kind that was met (by exit code), with the messages of all, after the last slide.
    """
    done: dict[str, bool] = {}
    failures: list[SlideunetError] = []
    for number, (slide, work) in enumerate(slides.items(), start=1):
        try:
            done[slide] = do(slide, work)
        except SlideunetError as error:
            failures.append(error)
            continue
        if done[slide] and number % _EVERY == 0:
            logging.info(f"{number} of {len(slides)} slides")
    if failures:
        kind = max((type(failure) for failure in failures), key=lambda kind: kind.exit_code)
        raise kind(problem for failure in failures for problem in failure.problems)
    return done


def read_batch(batch: Path) -> list[str]:
    """Return the slides that an earlier stage has finished: those of the batch that are not set aside."""
    return list(read_manifest(batch))


def finish_batch(batch: Path, folder: Path, slides: Iterable[str]) -> None:
    """Write the manifest of a batch: the fingerprint of every slide in it.

    Parameters
    ----------
    batch : Path
        The file that Snakemake waits for.
    folder : Path
        Where the manifests of the slides are.
    slides : iterable of str
        The ids of the slides.
    """
    write_manifest(batch, {slide: read_manifest(folder / f"{slide}.json")["fingerprint"] for slide in slides})
