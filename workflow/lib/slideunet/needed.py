"""Which dropped parts of predictions a run needs again.

A manifest and the results that were made of a store outlive the store, with their fingerprints. So it can be
told, slide by slide, whether every later result is what this run would make; only where one is not, the parts
that it is made of have to be made again.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slideunet.stores.kept import dropped_parts
from slideunet.stores.manifests import is_current, read_manifest

if TYPE_CHECKING:
    from slideunet.cells.separation.decoding import Decoding


def missing_parts(
    predictions: Mapping[str, Path], keep: Collection[str], later: Mapping[str, Any] | None, model: Path
) -> dict[str, frozenset[str]]:
    """Return the parts of each prediction that were dropped by an earlier run and are needed by this one.

    Parameters
    ----------
    predictions : mapping
        Slide to its manifest, which need not exist.
    keep : collection of str
        The parts that are to stay, of `kept.KEEPABLE`; these are needed in any case.
    later : mapping or None
        What comes after the predictions: the folders `slides`, `cells` and `metrics`; `threshold` and
        `separation` as `decoding_for` takes them, `version` of OME-Zarr, and whether there is `ome_tiff`.
        None where no part of a prediction is dropped.
    model : Path
        Folder of the model.
    """
    gone = {slide: _gone(prediction) for slide, prediction in predictions.items()}
    if later is None or not any(gone.values()):
        return {slide: parts & set(keep) for slide, parts in gone.items()}
    from slideunet.cells.separation.decoding import decoding_for
    from slideunet.model_json import read_model_facts

    facts = read_model_facts(model)
    decoding = decoding_for(facts, threshold=later["threshold"], **later["separation"])
    return {
        slide: parts & _needed(slide, predictions[slide], parts, keep, later, decoding) if parts else parts
        for slide, parts in gone.items()
    }


def _gone(prediction: Path) -> frozenset[str]:
    return dropped_parts(read_manifest(prediction)) if prediction.is_file() else frozenset()


def _needed(
    slide: str,
    prediction: Path,
    gone: frozenset[str],
    keep: Collection[str],
    later: Mapping[str, Any],
    decoding: "Decoding",
) -> set[str]:
    # These load what few jobs need: pandas, pyarrow, tifffile.
    from slideunet.cells.export.ome_tiff import image_fingerprint
    from slideunet.cells.separation.label_slide import cells_fingerprint

    facts, needed = read_manifest(prediction), set(keep)
    cells = facts.get("cells", {}).get("fingerprint")
    separated = cells == cells_fingerprint(facts, decoding, later["version"])
    if not (separated and _is_measured(slide, prediction, keep, later)):
        needed |= {"predictions", "labels"}
    if later["ome_tiff"] and image_fingerprint(Path(later["cells"]) / f"{slide}.ome.tif") != cells:
        needed |= {"labels"}
    # What labels are made of.
    return needed | ({"maps", "predictions"} if not separated or "labels" in needed & gone else set())


def _is_measured(slide: str, prediction: Path, keep: Collection[str], later: Mapping[str, Any]) -> bool:
    """Tell whether the table and the scores, as far as they are wanted, are those of the cells."""
    from slideunet.cells.export.export_slide import export_fingerprint
    from slideunet.cells.export.parquet import table_fingerprint
    from slideunet.scoring.score_slide import score_fingerprint

    image, table = Path(later["slides"]) / f"{slide}.json", Path(later["cells"]) / f"{slide}.parquet"
    if "cells" in keep:
        polygons = [table.with_suffix(".geojson.gz")]
        if not is_current(table, export_fingerprint(image, prediction), table_fingerprint, polygons):
            return False
    facts = read_manifest(image)
    known = score_fingerprint(facts, read_manifest(prediction))
    return facts["n_objects"] is None or is_current(Path(later["metrics"]) / f"{slide}.json", known)
