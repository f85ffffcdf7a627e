import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import write_image
from PIL import Image

from slideunet.errors import DamagedDataError
from slideunet.figures.encoding import in_page
from slideunet.geometry.pyramid import level_shapes
from slideunet.report.masks import OUTLINE, at_level, draw_mask, masked
from slideunet.report.page import RunRecord, render_page, summary_of
from slideunet.report.results import SlideResult, warnings_of
from slideunet.slides.tissue import skipped_share, upsampled
from slideunet.stores import omezarr
from slideunet.stores.manifests import store_path, write_manifest
from slideunet.stores.verified import block_digests

SHAPE, LEVEL = (1201, 900), 3
STATISTICS = [{"min": 40.0, "low": 60.0, "high": 250.0, "max": 255.0}] * 3
EMPTY = "no tissue found; set prediction.tissue: none to force prediction"


def write_store(manifest, pixels, labels, facts):
    path = store_path(manifest)
    write_image(path, pixels, channels=list("rgb")[: len(pixels)], mpp=0.5)
    for name, (plane, level) in labels.items():
        options = {"levels": 1, "first_level": level} if level else {}
        omezarr.write_labels(path / "labels" / name, plane.astype(np.uint32), mpp=0.5, name=name, **options)
    if labels:
        omezarr.list_labels(path / "labels")
    write_manifest(manifest, {"shape": list(pixels.shape), "blocks": block_digests(pixels), **facts})


@pytest.fixture
def page_of(tmp_path):
    def render(results):
        run = RunRecord("Title", "2000-01-02", "snakemake", {}, {}, None, [], None, {})
        return render_page(run, results, tmp_path), summary_of(run, results)

    return render


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Write a slide (its image once, a prediction for each mask) and return its result."""
    folder = tmp_path_factory.mktemp("stores")
    image = {"shape": [3, *SHAPE], "statistics": STATISTICS, "n_objects": None, "warnings": [], "mpp": 0.5}
    write_store(folder / "slide.json", np.full((3, *SHAPE), 240, np.uint8), {}, image)

    def make(slide, mask=None):
        manifest = folder / f"{slide}_prediction.json"
        digests = block_digests(np.zeros(SHAPE, np.uint32))
        facts = {"cells": {"n_cells": 0, "blocks": digests}, "tissue": None}
        labels = {"cells": (np.zeros(SHAPE), 0)}
        if mask is not None:
            labels["tissue"] = (mask, LEVEL)
            blocks = block_digests(mask.astype(np.uint32))
            facts["tissue"] = {"level": LEVEL, "skipped": skipped_share(mask, SHAPE, LEVEL), "blocks": blocks}
        if not manifest.exists():
            write_store(manifest, np.zeros((1, *SHAPE), np.uint8), labels, facts)
        return SlideResult(slide, slide, "", "predict", "", folder / "slide.json", manifest, {}, image, facts)

    return make


def half(top=0.5):
    mask = np.zeros(level_shapes(SHAPE)[LEVEL], bool)
    mask[: int(len(mask) * top)] = True
    return mask


def decoded(uri):
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    return np.asarray(picture.convert("RGB")).astype(int)


def test_the_outline_is_at_the_edge_of_the_mask(stores):
    panel = draw_mask(stores("half", half()), in_page(200_000))
    shown = decoded(panel.picture.uri)
    # 1201 x 900 is shown at level 2; rows 0 to 74 of the mask are rows 0 to 149 there.
    assert shown.shape[:2] == level_shapes(SHAPE)[2]
    distance = np.abs(shown - np.array(OUTLINE)).sum(axis=2)
    assert (distance[148:150] < 120).all()
    assert (distance[:145] > 200).all()
    assert (distance[153:] > 200).all()
    assert panel.caption == "50.0 % skipped"
    assert panel.alt == "Slide half, outline of its tissue; 50.0 % skipped"


def test_a_picture_keeps_to_its_budget(stores):
    assert len(draw_mask(stores("half", half()), in_page(1000)).picture.uri) < 1500


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 5), st.integers(0, 5), st.integers(0, 99))
def test_a_mask_is_the_same_at_every_level(height, width, source, level, seed):
    shapes = [(height, width)]
    for _ in range(5):
        shapes.append(tuple(-(-side // 2) for side in shapes[-1]))
    mask = np.random.default_rng(seed).random(shapes[source]) < 0.5
    whole = upsampled(mask, source, slice(0, height), slice(0, width))
    resampled = at_level(mask, source, level, shapes[level])
    np.testing.assert_array_equal(resampled, whole[:: 1 << level, :: 1 << level])


def test_slides_with_masks_are_sorted_by_skipped_area(stores):
    slides = [stores("whole"), stores("half", half()), stores("less", half(0.1)), SlideResult(
        "failed", "", "", "", "", stores("whole").manifest, stores("whole").manifest)]  # fmt: skip
    assert [result.slide for result in masked(slides)] == ["less", "half"]
    assert [result.skipped for result in slides[::3]] == [None, None]


def test_the_page_shows_every_mask_escaped(stores, page_of):
    page, _ = page_of([stores("half", half()), stores("<b>less", half(0.1))])
    section = re.search(r'<section id="tissue">.*?</section>', page, re.DOTALL).group()
    assert re.findall(r"</strong> (.*?)</figcaption>", section) == ["90.0 % skipped", "50.0 % skipped"]
    assert section.count("<img") == 2
    assert "&lt;b&gt;less" in section
    assert "<b>" not in page
    assert '<a href="#tissue">' in page
    assert "On 2 bright-field slides only tissue was predicted" in page


def test_more_masks_than_pictures_are_in_a_table(stores, page_of, monkeypatch):
    monkeypatch.setattr("slideunet.report.drawn_slides.MASKS_SHOWN", 1)
    page, _ = page_of([stores("half", half()), stores("less", half(0.1))])
    section = re.search(r'<section id="tissue">.*?</section>', page, re.DOTALL).group()
    assert section.count("<img") == 1
    assert "pictures of the first 1 of 2" in section
    assert re.findall(r"<td>(.*?)</td>", section) == ["90.0 % skipped", "50.0 % skipped"]


def test_a_page_without_masks_does_not_mention_tissue(stores, page_of):
    plain, _ = page_of([stores("whole")])
    assert "tissue" not in re.sub(r"<style>.*?</style>", "", plain, flags=re.DOTALL).lower()


def test_a_slide_without_tissue_is_a_warning(stores, page_of):
    empty, full = stores("empty", half(0)), stores("full", half(1))
    page, summary = page_of([empty, full, stores("whole")])
    assert warnings_of([empty, full]) == [("empty", EMPTY)]
    assert summary["warnings"] == [f"slide empty: {EMPTY}"]
    assert f">empty</a></strong>: {EMPTY}" in page
    assert re.findall(r"</strong> (.*?)</figcaption>", page) == ["no tissue found", "0.0 % skipped"]


def test_a_missing_mask_is_an_error(stores):
    result = stores("lost", half())
    (store_path(result.prediction_manifest) / "labels" / "tissue" / "0" / "zarr.json").unlink()
    with pytest.raises(DamagedDataError, match="tissue"):
        draw_mask(result, in_page(1000))
