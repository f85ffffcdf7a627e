from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage.draw import disk

from slideunet.slides import tissue, tissue_store
from slideunet.slides.statistics import survey
from slideunet.slides.tissue_store import StoredMask, make_mask, read_mask
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.resumable import building

KNOWN = "0" * 64


class Killed(BaseException):
    pass


@pytest.fixture
def slide(tmp_path, monkeypatch, write_store):
    """Glass with a section on it, 4 um per pixel, and the manifest of it."""
    monkeypatch.setattr(tissue, "WHOLE_SLIDE", 256)
    pixels = np.random.default_rng(0).normal(243, 0.4, (3, 700, 605)).round().astype(np.uint8)
    pixels[:, *disk((300, 200), 90)] = np.array([[200], [130], [170]])
    return write_store(tmp_path / "slides" / "S1.json", pixels, statistics=survey(pixels)[0], mpp=4.0)


@pytest.fixture
def begun(tmp_path, version):
    def create(path):
        omezarr.create_image(path, (1, 700, 605), np.dtype("u1"), channels=["p"], mpp=4.0, version=version)

    with building(tmp_path / "predictions" / "S1.json", KNOWN, create) as store:
        yield store


def test_a_mask_is_made_once_and_kept_with_the_prediction(slide, begun, version, fill_store, monkeypatch):
    mask = make_mask(begun.path, slide, "auto", "bright", version)
    assert mask.level == tissue.mask_level((3, 700, 605), 4.0) == 1
    assert mask.pixels[150, 100] and not mask.pixels[:20].any()
    monkeypatch.setattr(tissue, "tissue_mask", lambda *args: 1 / 0)
    again = make_mask(begun.path, slide, "auto", "bright", version)
    np.testing.assert_array_equal(again.pixels, mask.pixels)
    facts = mask.facts((3, 700, 605))
    assert facts["level"] == 1
    assert facts["skipped"] == pytest.approx(
        1 - tissue.upsampled(mask.pixels, 1, slice(0, 700), slice(0, 605)).mean(), abs=1e-6
    )
    fill_store(begun, np.zeros((1, 700, 605), np.uint8))
    begun.finish({"shape": [1, 700, 605], "tissue": facts})
    found = verified.open_label_store(begun.manifest, "tissue")
    np.testing.assert_array_equal(found[:] > 0, mask.pixels)
    folder = manifests.store_path(begun.manifest) / "labels"
    assert omezarr.metadata(folder)["labels"] == ["tissue"]
    (dataset,) = omezarr.metadata(folder / "tissue")["multiscales"][0]["datasets"]
    assert dataset["coordinateTransformations"][0]["scale"] == [8.0, 8.0]


@pytest.mark.parametrize(("choice", "background"), [("none", "bright"), ("auto", "dark")])
def test_without_a_reason_there_is_no_mask(slide, begun, version, choice, background):
    assert make_mask(begun.path, slide, choice, background, version) is None
    assert read_mask(begun.path, manifests.read_manifest(slide)) is None
    assert not (begun.path / "labels").exists()


def test_a_mask_that_a_kill_left_without_its_name_is_listed(slide, begun, version, monkeypatch):
    def die(*args):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(omezarr, "list_labels", die)
        make_mask(begun.path, slide, "auto", "bright", version)
    make_mask(begun.path, slide, "auto", "bright", version)
    assert omezarr.metadata(begun.path / "labels")["labels"] == ["tissue"]
    assert begun.path / "labels" / "tissue" / "0" in omezarr.arrays(begun.path)


def test_a_mask_that_was_being_written_is_made_anew(slide, begun, version, monkeypatch):
    def die(*args):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(tissue_store, "move_unless_there", die)
        make_mask(begun.path, slide, "auto", "bright", version)
    assert read_mask(begun.path, manifests.read_manifest(slide)) is None
    assert make_mask(begun.path, slide, "auto", "bright", version).pixels.any()
    assert [path.name for path in (begun.path / "labels").iterdir() if path.is_dir()] == ["tissue"]


def test_parts_that_make_the_mask_at_once_have_the_same(slide, begun, version):
    def make(_):
        return make_mask(begun.path, slide, "auto", "bright", version)

    with ThreadPoolExecutor(4) as pool:
        masks = list(pool.map(make, range(4)))
    for mask in masks:
        np.testing.assert_array_equal(mask.pixels, masks[0].pixels)
    verified.check_complete(begun.path / "labels" / "tissue")
    assert not list(begun.path.parent.glob("*.new"))


def test_a_slide_without_tissue_is_skipped_as_a_whole():
    facts = StoredMask(np.zeros((9, 8), bool), 3).facts((3, 70, 61))
    assert (facts["skipped"], len(facts["blocks"])) == (1.0, 1)
