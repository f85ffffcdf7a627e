"""All results of every slide, read once for the report."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slideunet.errors import DamagedDataError
from slideunet.inputs.equal_slides import SlideContent, equal_warnings, is_blank
from slideunet.inputs.sheet import SHEET_COLUMNS
from slideunet.inputs.text_table import read_table
from slideunet.scoring.error_examples import Example
from slideunet.scoring.score_slide import Score
from slideunet.slides.slide_image import image_is_there
from slideunet.stores.kept import dropped_parts
from slideunet.stores.manifests import read_manifest

_LEARNED = (
    "the model was trained or validated on these pixels, so its prediction does not show how well it does "
    "on new images"
)


@dataclass(frozen=True)
class SlideResult:
    """One slide.

    Attributes
    ----------
    slide, group, stratum, split, content : str
        A row of the split table.
    metadata : dict[str, str]
        Columns of the sample sheet without a meaning for the workflow.
    manifest, prediction_manifest : Path
        Manifests of image and prediction.
    facts, prediction : dict or None
        Their contents; None if the slide was not converted, or not predicted.
    score : Score or None
        None without ground truth, or if the slide was not scored.
    examples : tuple[Example, ...]
        A sample of its errors.
    """

    slide: str
    group: str
    stratum: str
    split: str
    content: str
    manifest: Path
    prediction_manifest: Path
    metadata: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    score: Score | None = None
    examples: tuple[Example, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the slide has ground truth."""
        return self.facts is not None and self.facts["n_objects"] is not None

    @property
    def drawable(self) -> bool:
        """Whether pixels and labels, if there were any, are still there to be drawn; see `data.keep`."""
        return "labels" not in dropped_parts(self.prediction or {}) and image_is_there(self.facts or {})

    @property
    def network_scale(self) -> float:
        """Pixels of the slide per pixel that the network saw; see `cells.diameter`."""
        return (self.prediction or {}).get("cell_size", {}).get("scale", 1.0)

    @property
    def n_cells(self) -> int:
        """Number of predicted cells; 0 without a prediction."""
        return int(self.prediction["cells"]["n_cells"]) if self.prediction else 0

    @property
    def skipped(self) -> float | None:
        """Share of the slide outside of its tissue mask; None without a mask."""
        tissue = self.prediction.get("tissue") if self.prediction else None
        return None if tissue is None else float(tissue["skipped"])

    def value_of(self, column: str) -> str:
        """Value of a column of the split table or of the sheet; empty if missing."""
        return str({"group": self.group, "stratum": self.stratum, **self.metadata}.get(column, ""))


def load_results(
    *,
    split_table: Path,
    sheet: Path | None,
    slides_folder: Path,
    predictions_folder: Path,
    metrics_folder: Path,
) -> list[SlideResult]:
    """Read the results of all slides of the split table, in its order.

    Raises
    ------
    DamagedDataError
        If a manifest or a score exists but cannot be read.
    """
    metadata = _metadata(sheet) if sheet else {}
    results = []
    for row in read_table(split_table).rows:
        slide = row["slide"]
        manifest, prediction = slides_folder / f"{slide}.json", predictions_folder / f"{slide}.json"
        facts, predicted = _read(manifest), _read(prediction)
        complete = facts is not None and predicted is not None and "cells" in predicted
        # Scores without their image or prediction are ignored.
        score, examples = read_score(metrics_folder / f"{slide}.json") if complete else (None, ())
        results.append(
            SlideResult(
                **{name: row.get(name, "") for name in ("slide", "group", "stratum", "split", "content")},
                manifest=manifest,
                prediction_manifest=prediction,
                metadata=metadata.get(slide, {}),
                facts=facts,
                prediction=predicted if complete else None,
                score=score,
                examples=examples,
            )
        )
    return results


def warnings_of(results: Sequence[SlideResult], learned: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return (slide, warning): the warnings of earlier stages, missing results, equal and learned pixels.

    `learned` is the content (sha256) of all slides that the model was trained and validated on.
    """
    warnings = []
    for result in results:
        if result.facts is None:
            warnings.append((result.slide, "was not converted; this report does not include it"))
            continue
        warnings += [(result.slide, text) for text in result.facts.get("warnings", [])]
        if result.prediction is None:
            warnings.append((result.slide, "was not predicted"))
        elif result.skipped == 1:
            warnings.append(
                (result.slide, "no tissue found; set prediction.tissue: none to force prediction")
            )
        if result.prediction is not None and result.labelled and result.score is None:
            warnings.append((result.slide, "has labels but was not scored"))
        if result.split == "predict" and result.content in learned:
            warnings.append((result.slide, _LEARNED))
    return warnings + _equal(results)


def _equal(results: Sequence[SlideResult]) -> list[tuple[str, str]]:
    return equal_warnings(
        SlideContent(result.slide, result.content, result.split, is_blank(result.facts.get("statistics", ())))
        for result in results
        if result.facts is not None
    )


def _metadata(sheet: Path) -> dict[str, dict[str, str]]:
    return {
        row["slide"]: {name: value for name, value in row.items() if name not in SHEET_COLUMNS}
        for row in read_table(sheet).rows
    }


def _read(manifest: Path) -> dict[str, Any] | None:
    return read_manifest(manifest) if manifest.exists() else None


def read_score(path: Path) -> tuple[Score | None, tuple[Example, ...]]:
    """Read the scores of a slide and the sample of its errors; None without the file.

    Raises
    ------
    DamagedDataError
        If the file is not readable.
    """
    if not path.exists():
        return None, ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Score.from_json(content), tuple(Example(**values) for values in content["examples"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(
            f"{path}: the scores cannot be read ({type(error).__name__}: {error}). "
            "The file was altered or is from another version. Delete it and run again."
        ) from error
