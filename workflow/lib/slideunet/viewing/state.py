"""The state of Neuroglancer for a slide: layers, their sources and scales, as its JSON has them.

https://github.com/google/neuroglancer/blob/master/src/util/json_schema.md has no schema of it; the names are
those of `neuroglancer.viewer_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slideunet.scoring.error_examples import in_words
from slideunet.viewing.cell_table import MOST_PROPERTIES
from slideunet.viewing.shaders import PROBABILITY, channels_shader, outlines_shader
from slideunet.viewing.viewed_slide import ViewedSlide

Place = tuple[float, float]
WINDOW = (1100, 700)  # Pixels of a usual window for the slide, which the first picture is made to fit.
CLOSE = 0.5  # Pixels of the slide per pixel of the screen: cells and outlines are seen.
CELLS, ERRORS, CHOSEN = "cells", "errors", "chosen cell"  # As in page.js.
_CELL_COLOUR, _TRUTH_COLOUR, _ERROR_COLOUR = "#ffd000", "#00e5ff", "#ff3b3b"


def viewer_state(slide: ViewedSlide, files: str, place: Place | None = None) -> dict[str, Any]:
    """Return the first state: the whole slide or a place of it, with outlines of cells and objects.

    Parameters
    ----------
    slide : ViewedSlide
    files : str
        Address below which the stores are, e.g. "http://127.0.0.1:1234/files/TOKEN".
    place : (y, x), optional
        In pixels of the original, as the report has it.
    """
    height, width = slide.facts["shape"][1:]
    middle, scale = [width / 2, height / 2], max(width / WINDOW[0], height / WINDOW[1])
    if place is not None:
        middle, scale = [length / slide.facts.get("scale", 1.0) for length in reversed(place)], CLOSE
    return {
        "title": slide.name,
        "dimensions": dimensions(slide.facts),
        "position": middle,
        "crossSectionScale": scale,
        "crossSectionBackgroundColor": "#202020",
        "showAxisLines": False,
        "showDefaultAnnotations": False,
        "layout": "xy",
        "layers": _layers(slide, files),
        "selectedLayer": {"visible": True, "layer": ERRORS if slide.examples else "image"},
    }


def dimensions(facts: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return length and unit of a pixel of the store, metres if it is known."""
    pixel = [1, ""] if facts.get("mpp") is None else [facts["mpp"] * 1e-6, "m"]
    return {"x": pixel, "y": pixel}


def _layers(slide: ViewedSlide, files: str) -> list[dict[str, Any]]:
    layers = [_image("image", f"{files}/image", slide, channels_shader(slide.facts), channel=True)]
    if slide.prediction and slide.has_probability:
        probability = _image("probability", f"{files}/prediction", slide, PROBABILITY, channel=True)
        layers.append(probability | {"visible": False, "opacity": 0.5})
    if slide.n_cells is not None:
        source = f"{files}/prediction/labels/cells"
        # The page searches an empty list of properties for ever when the pointer is on a cell.
        listed = slide.table is not None and 0 < slide.n_cells <= MOST_PROPERTIES
        layers += [
            _segments(CELLS, source, slide, [f"precomputed://{files}/properties"] if listed else []),
            _image("outlines of cells", source, slide, outlines_shader(_CELL_COLOUR)),
        ]
    if slide.has_truth:
        source = f"{files}/image/labels/truth"
        layers += [
            _segments("truth", source, slide, []) | {"visible": False},
            _image("outlines of truth", source, slide, outlines_shader(_TRUTH_COLOUR)),
        ]
    if slide.examples:
        layers.append(_errors(slide))
    if slide.table:
        layers.append(_annotations(CHOSEN, slide, [], "#ffffff"))
    return layers


def _source(url: str, slide: ViewedSlide, channel: bool) -> dict[str, Any]:
    """Return a source whose channels are those of one pixel and not an axis to move along."""
    axes = {"c^": [1, ""]} if channel else {}
    both = dimensions(slide.facts)
    transform = {"outputDimensions": axes | {"y": both["y"], "x": both["x"]}}
    return {"url": f"{url}/|zarr{_zarr_format(slide)}:", "transform": transform}


def _zarr_format(slide: ViewedSlide) -> int:
    return 2 if (slide.image / ".zgroup").exists() else 3


def _image(name: str, url: str, slide: ViewedSlide, shader: str, channel: bool = False) -> dict[str, Any]:
    source = _source(url, slide, channel)
    return {"type": "image", "name": name, "source": source, "shader": shader, "opacity": 1}


def _segments(name: str, url: str, slide: ViewedSlide, properties: list[str]) -> dict[str, Any]:
    return {
        "type": "segmentation",
        "name": name,
        "source": [_source(url, slide, channel=False), *properties],
        "selectedAlpha": 0.15,
        "notSelectedAlpha": 0.1,
    }


def _errors(slide: ViewedSlide) -> dict[str, Any]:
    """Return a list of points; the browser shows their descriptions."""
    points = [
        {
            "type": "point",
            "id": f"{example.kind}-{example.id}",
            "point": [example.x + 0.5, example.y + 0.5],
            "description": f"{example.kind} {example.id}: {in_words(example)}",
        }
        for example in slide.examples
    ]
    return _annotations(ERRORS, slide, points, _ERROR_COLOUR) | {"tab": "annotations"}


def _annotations(name: str, slide: ViewedSlide, items: list[dict[str, Any]], colour: str) -> dict[str, Any]:
    return {
        "type": "annotation",
        "name": name,
        "source": {"url": "local://annotations", "transform": {"outputDimensions": dimensions(slide.facts)}},
        "annotations": items,
        "annotationColor": colour,
    }


def chosen_cell(facts: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a cell, and two corners (x, y) of the box around it on the working grid.

    Parameters
    ----------
    facts : mapping
        The manifest of the image.
    row : mapping
        Of the table: column to value; lengths as in the original image.
    """
    scale = facts.get("scale", 1.0)
    left, top, right, bottom = (row[side] / scale for side in ("x_min", "y_min", "x_max", "y_max"))
    return {"row": row, "pointA": [left, top], "pointB": [right, bottom]}
