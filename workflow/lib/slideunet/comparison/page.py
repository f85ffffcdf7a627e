"""The page of a comparison, of the same make as the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slideunet.comparison.comparison import Comparison
from slideunet.comparison.differences import Difference, by_gain, slide_values
from slideunet.comparison.figures import intervals_of_differences, slide_against_slide
from slideunet.comparison.metrics import NO_FRACTIONS, OF_CLASSES, POOLED_PREFIX, label_of, sign_of
from slideunet.comparison.pairing import PairedSlide
from slideunet.figures.encoding import in_page
from slideunet.report.page_environment import DASH, page_environment
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
    tables: Sequence[tuple[str, Sequence[Difference]]]
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
    environment.filters |= {"label": label_of, "lower_is_better": lambda metric: sign_of(metric) < 0}
    names = [run.name for run in comparison.runs[1:]]
    budget = PICTURE_BYTES // max(len(names) * 2 * SHOWN * 4, 1)
    return environment.get_template("page.html.j2").render(
        comparison=comparison,
        sections=[_section(comparison, number, budget) for number, _ in enumerate(names, start=1)],
        verdicts={verdict.run: verdict for verdict in comparison.verdicts},
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

    charts = {
        averaging: intervals_of_differences(found, both, averaging.replace("_", " "))
        for averaging in ("mean_over_slides", "pooled")
        if (found := _fractions(comparison.of(both[1]), averaging))
    }
    if ranked:
        first, other = slide_values(pairs, metric, 0), slide_values(pairs, metric, run)
        charts["slides"] = slide_against_slide(first, other, metric, both)
    return RunSection(both[1], _tables(comparison.of(both[1])), charts, draw(lost), draw(gained), slides)


def _tables(differences: Sequence[Difference]) -> list[tuple[str, Sequence[Difference]]]:
    """Return the differences under headings that say what a number is of."""
    means = [found for found in differences if found.averaging == "mean_over_slides"]
    pooled = [found for found in differences if found.averaging == "pooled"]
    classes = [found for found in pooled if found.metric in OF_CLASSES]
    whole = [found for found in pooled if found.metric not in OF_CLASSES]
    return [
        ("Means over slides: the metric of each slide, averaged. Every slide counts the same.", means),
        ("Pooled: the counts of all slides together. Every pixel, object or cell counts the same.", whole),
        ("Pooled, by area in pixels of the working grid.", classes),
    ]


def _fractions(differences: Sequence[Difference], averaging: str) -> list[Difference]:
    """Select the differences of one chart: a length or a count would squeeze all others."""
    return [
        found
        for found in differences
        if found.averaging == averaging
        and found.metric not in OF_CLASSES
        and found.metric.removeprefix(POOLED_PREFIX) not in NO_FRACTIONS
    ]


def _values(pair: PairedSlide, metric: str, run: int) -> tuple[float, ...]:
    return tuple(float(slide_values([pair], metric, number)[0]) for number in (0, run))


def _draw(pair: PairedSlide, run: int, names: tuple[str, str], budget: int) -> Case | None:
    results = {name: pair.slides[number].result for name, number in zip(names, (0, run), strict=True)}
    if not all(_has_stores(result) for result in results.values()):
        return None
    return draw_several(results, in_page(budget))


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
