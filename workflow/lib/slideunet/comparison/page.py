"""The page of a comparison, of the same make as the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slideunet.comparison.comparison import Comparison
from slideunet.comparison.differences import by_gain, paired_values, sign_of
from slideunet.comparison.figures import intervals_of_differences, slide_against_slide
from slideunet.comparison.pairing import PairedSlide
from slideunet.report.page_environment import DASH, page_environment
from slideunet.report.pictures import CORRECT, FALSE, MISSED
from slideunet.report.results import SlideResult
from slideunet.report.side_by_side import Case, draw_several
from slideunet.stores.manifests import store_path

MINUS = "\N{MINUS SIGN}"
SHOWN = 3
"""Slides with the largest gain that are shown of each run, and as many with the largest loss."""
PICTURE_BYTES = 11_000_000
"""Of all pictures together before base64, which adds a third."""
PER_SLIDE = 40
"""Slides up to which their table is open."""


@dataclass(frozen=True)
class ChangedSlide:
    """A slide that gained or lost, with its pictures; `case` is None where a store is gone."""

    pair: PairedSlide
    gain: float
    values: tuple[float, ...]
    case: Case | None


@dataclass(frozen=True)
class RunSection:
    """All that the page shows of one run against the first."""

    name: str
    charts: Mapping[str, str]
    lost: Sequence[ChangedSlide]
    gained: Sequence[ChangedSlide]
    slides: Sequence[tuple[PairedSlide, tuple[float, ...], float]]


def render_comparison(comparison: Comparison, *, date: str, command: str, version: str) -> str:
    """Render the page; the template engine escapes all text from outside.

    Parameters
    ----------
    comparison : Comparison
    date, command, version : str
        As printed; `command` repeats the comparison, `version` is that of slideunet.
    """
    environment = page_environment("comparison")
    environment.filters |= {"signed": _signed, "signed_interval": _signed_interval}
    names = [run.name for run in comparison.runs[1:]]
    budget = min(PICTURE_BYTES // max(len(names) * 2 * SHOWN * 4, 1), 160_000)
    return environment.get_template("page.html.j2").render(
        comparison=comparison,
        sections=[_section(comparison, number, budget) for number, _ in enumerate(names, start=1)],
        verdicts={verdict.run: verdict for verdict in comparison.verdicts},
        lower_is_better=[metric for metric in comparison.metrics if sign_of(metric) < 0],
        colours={"correct": CORRECT, "missed": MISSED, "false": FALSE},
        open_up_to=PER_SLIDE,
        date=date,
        command=command,
        version=version,
    )


def _section(comparison: Comparison, run: int, budget: int) -> RunSection:
    pairs, metric = comparison.pairs, comparison.metric
    both = (comparison.runs[0].name, comparison.runs[run].name)
    ranked = by_gain(pairs, metric, run)
    slides = [(pair, _values(pair, metric, run), gain) for pair, gain in ranked]
    lost = [entry for entry in ranked if entry[1] < 0][:SHOWN]
    gained = [entry for entry in reversed(ranked) if entry[1] > 0][:SHOWN]

    def draw(entries: Sequence[tuple[PairedSlide, float]]) -> list[ChangedSlide]:
        return [
            ChangedSlide(pair, gain, _values(pair, metric, run), _draw(pair, run, both, budget))
            for pair, gain in entries
        ]

    # A length or a count would squeeze all others.
    fractions = [found for found in comparison.of(both[1]) if _is_fraction(pairs, found.metric)]
    charts = {"intervals": intervals_of_differences(fractions, both)} if fractions else {}
    if ranked:
        first, other = paired_values(pairs, metric, 0), paired_values(pairs, metric, run)
        charts["slides"] = slide_against_slide(first, other, metric, both)
    return RunSection(both[1], charts, draw(lost), draw(gained), slides)


def _is_fraction(pairs: Sequence[PairedSlide], metric: str) -> bool:
    values = np.array([paired_values(pairs, metric, run) for run in range(len(pairs[0].slides))])
    return bool(np.nanmin(values) >= 0 and np.nanmax(values) <= 1)


def _values(pair: PairedSlide, metric: str, run: int) -> tuple[float, ...]:
    return tuple(float(paired_values([pair], metric, number)[0]) for number in (0, run))


def _draw(pair: PairedSlide, run: int, names: tuple[str, str], budget: int) -> Case | None:
    results = {name: pair.slides[number].result for name, number in zip(names, (0, run), strict=True)}
    if not all(_has_stores(result) for result in results.values()):
        return None
    return draw_several(results, budget)


def _has_stores(result: SlideResult) -> bool:
    manifests = (result.manifest, result.prediction_manifest)
    there = result.prediction is not None and all(store_path(path).is_dir() for path in manifests)
    return there and result.drawable


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    # What rounds to zero has no sign.
    return "0.000" if float(text) == 0 else text.replace("-", MINUS)


def _signed_interval(interval: tuple[float, float] | None) -> str:
    return DASH if interval is None else " to ".join(_signed(end) for end in interval)
