"""The slides of several runs paired by the content of their images, or the reasons why they cannot be."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slideunet.comparison.runs import ComparedRun, ComparedSlide, in_short
from slideunet.errors import InputError

PixelKey = tuple[str, int]
"""Content (sha256 of the pixels) and the number of the slide among those with equal pixels in its run."""


@dataclass(frozen=True)
class PairedSlide:
    """A slide in all runs, in the order of the runs."""

    slides: tuple[ComparedSlide, ...]

    @property
    def slide(self) -> str:
        """Id in the first run."""
        return self.slides[0].slide

    @property
    def group(self) -> str:
        """Group in the first run."""
        return self.slides[0].result.group


@dataclass(frozen=True)
class Unpaired:
    """A labelled slide of the split that is not compared: a run that has it, its id there, and the reason."""

    run: str
    slide: str
    reason: str


def pair_slides(runs: Sequence[ComparedRun], split: str) -> tuple[list[PairedSlide], list[Unpaired]]:
    """Pair the labelled slides of one split by the content of their images, in the order of the first run.

    Slides with equal pixels in one run are paired in the order of their ids.

    Raises
    ------
    InputError
        With everything that forbids a comparison: no slide in common, other ground truth, resolution, split
        or groups.
    """
    indices = [_by_content(run) for run in runs]
    wanted = dict.fromkeys(key for index in indices for key, slide in index.items() if _in(slide, split))
    pairs, unpaired = [], []
    for key in wanted:
        found = {run.name: index[key] for run, index in zip(runs, indices, strict=True) if key in index}
        without = [name for name, slide in found.items() if slide.truth is None]
        if len(found) == len(runs) and not without:
            pairs.append(PairedSlide(tuple(found.values())))
        else:
            unpaired.append(_unpaired(found, without, runs))
    problems = [*_problems(runs, pairs), *_other_resolution(runs, unpaired)]
    if not pairs and not problems:
        problems = [_nothing_in_common(runs, split)]
    if problems:
        raise InputError(problems)
    return pairs, unpaired


def _in(slide: ComparedSlide, split: str) -> bool:
    return slide.result.split == split and slide.truth is not None


def _by_content(run: ComparedRun) -> dict[PixelKey, ComparedSlide]:
    equal: dict[str, int] = defaultdict(int)
    index = {}
    for slide in sorted(run.slides, key=lambda slide: slide.slide):
        index[slide.content, equal[slide.content]] = slide
        equal[slide.content] += 1
    return index


def _unpaired(
    found: Mapping[str, ComparedSlide], without: Sequence[str], runs: Sequence[ComparedRun]
) -> Unpaired:
    """Say why a slide is not in all runs."""
    name, slide = next((name, slide) for name, slide in found.items() if name not in without)
    reasons = [f"no ground truth in {other}" for other in without]
    for run in runs:
        if run.name in found:
            continue
        if slide.slide in run.quarantined:
            reasons.append(f"skipped by {run.name} (in quarantine)")
        elif any(other.slide == slide.slide for other in run.slides):
            reasons.append(f"other pixels in {run.name} under the same id")
        else:
            reasons.append(f"not in {run.name}")
    return Unpaired(name, slide.slide, ", ".join(reasons))


def _problems(runs: Sequence[ComparedRun], pairs: Sequence[PairedSlide]) -> list[str]:
    """Compare truth, resolution, split and groups of paired slides with those of the first run."""
    problems = []
    for number, run in enumerate(runs[1:], start=1):
        both = [(pair.slides[0], pair.slides[number]) for pair in pairs]
        where = f"{run.name}={run.folder}"
        if other := [a.slide for a, b in both if a.truth != b.truth]:
            problems.append(
                f"{where}: the ground truth is not that of A for {in_short(other)}. Scores against different "
                "labels cannot be compared. Run both with the same labels and settings of `data`."
            )
        problems += _resolution_problem(where, both)
        if other := [
            f"{a.slide} ({a.result.split}, {b.result.split})"
            for a, b in both
            if a.result.split != b.result.split
        ]:
            problems.append(
                f"{where}: the split is not that of A for {in_short(other)}. A model may have learned what "
                "tests the other. Run both with the same split."
            )
        if other := _regrouped(both):
            problems.append(
                f"{where}: the groups are not those of A for {in_short(other)}. The interval resamples "
                "groups. Run both with the same column `group`."
            )
    return problems


def _resolution_problem(where: str, both: Iterable[tuple[ComparedSlide, ComparedSlide]]) -> list[str]:
    other = [
        f"{a.slide} ({_micrometres(a)}, {_micrometres(b)})" for a, b in both if a.resolution != b.resolution
    ]
    if not other:
        return []
    return [
        f"{where}: the resolution is not that of A for {in_short(other)}. Metrics depend on it. Run both "
        "with the same `data.mpp`, `mpp` of the sheet and `cells.diameter`."
    ]


def _micrometres(slide: ComparedSlide) -> str:
    mpp, scale = slide.resolution
    size = "unknown pixel size" if mpp is None else f"{mpp:g} µm per pixel"
    return size if scale == 1 else f"{size}, reduced {scale:g} times"


def _other_resolution(runs: Sequence[ComparedRun], unpaired: Sequence[Unpaired]) -> list[str]:
    """Find slides without a partner that another run has under the same id at another resolution."""
    ids = [{slide.slide: slide for slide in run.slides} for run in runs]
    problems = []
    for number, run in enumerate(runs[1:], start=1):
        left = [entry.slide for entry in unpaired if entry.slide in ids[0] and entry.slide in ids[number]]
        both = [(ids[0][slide], ids[number][slide]) for slide in dict.fromkeys(left)]
        problems += _resolution_problem(
            f"{run.name}={run.folder}", [(a, b) for a, b in both if a.content != b.content]
        )
    return problems


def _regrouped(both: Sequence[tuple[ComparedSlide, ComparedSlide]]) -> list[str]:
    """Return the slides whose group in one run is spread over several groups of the other."""
    partners: dict[tuple[int, str], set[str]] = defaultdict(set)
    for a, b in both:
        partners[0, a.result.group].add(b.result.group)
        partners[1, b.result.group].add(a.result.group)
    return [
        a.slide
        for a, b in both
        if len(partners[0, a.result.group]) > 1 or len(partners[1, b.result.group]) > 1
    ]


def _nothing_in_common(runs: Sequence[ComparedRun], split: str) -> str:
    numbers = ", ".join(f"{run.name} has {sum(_in(s, split) for s in run.slides)}" for run in runs)
    return (
        f"No slide with ground truth in the split {split!r} has the same pixels in all runs ({numbers} such "
        "slides). A comparison needs equal images at an equal resolution with equal channels. Compare runs "
        "of the same slides, or name another split (SPLIT=val)."
    )
