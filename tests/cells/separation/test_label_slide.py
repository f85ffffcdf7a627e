import numpy as np
import pytest
from oracles import number_by_blocks
from scipy import ndimage as ndi

from slideunet.cells.separation import label_slide as label_slide_module
from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.label_slide import cells_fingerprint, check_count, label_slide
from slideunet.cells.separation.separate import separate
from slideunet.errors import DamagedDataError, MachineError
from slideunet.stores import locks, manifests, omezarr, verified

SIDE = 512


@pytest.fixture
def prediction(tmp_path, write_store, small_blocks):
    noise = ndi.gaussian_filter(np.random.default_rng(0).normal(size=(700, 1100)), 3)
    probability = (127 + 127 * noise / abs(noise).max()).astype(np.uint8)
    return write_store(tmp_path / "S1.json", probability[None], fingerprint="p", mpp=0.5)


def label(prediction, fingerprint="f" * 64, **options):
    own = {name: options.pop(name) for name in ("version", "client") if name in options}
    decoding = Decoding(**({"threshold": 0.6, "method": "watershed"} | options))
    return label_slide(prediction, fingerprint, decoding=decoding, **({"version": "0.5"} | own))


def expected(prediction, threshold=0.6, **options):
    maps = {"foreground": verified.open_image_store(prediction)[0]}
    return number_by_blocks(separate(maps, Decoding(threshold, "watershed", **options)), SIDE)


@pytest.mark.slow
def test_the_cells_of_a_slide_of_several_blocks_are_those_of_the_whole(prediction):
    facts = label(prediction)
    cells = verified.open_label_store(prediction, "cells")[:]
    np.testing.assert_array_equal(cells, expected(prediction))
    told = manifests.read_manifest(prediction)["cells"]
    assert told == facts
    assert told["n_cells"] == cells.max()
    assert told["unfinished"] == 0
    assert told["first_ids"][0] == 1
    assert len(told["first_ids"]) == len(told["blocks"]) == 6
    path = manifests.store_path(prediction) / "labels"
    assert omezarr.metadata(path)["labels"] == ["cells"]
    assert [child.name for child in path.iterdir() if child.is_dir()] == ["cells"]
    for level, array in enumerate(omezarr.open_levels(path / "cells")):
        np.testing.assert_array_equal(array[:], cells[:: 2**level, :: 2**level])


def test_the_merge_ratio_of_a_model_reaches_the_cells(prediction):
    label(prediction, merge_ratio=0.5)
    cells = verified.open_label_store(prediction, "cells")[:]
    np.testing.assert_array_equal(cells, expected(prediction, merge_ratio=0.5))
    assert cells.max() < expected(prediction).max()
    assert manifests.read_manifest(prediction)["cells"]["merge_ratio"] == 0.5


@pytest.mark.slow
def test_improbable_cells_are_left_out(prediction):
    label(prediction, min_probability=0.7)
    cells = verified.open_label_store(prediction, "cells")[:]
    np.testing.assert_array_equal(cells, expected(prediction, min_probability=0.7))
    assert 0 < cells.max() < expected(prediction).max()
    assert manifests.read_manifest(prediction)["cells"]["min_probability"] == 0.7


@pytest.mark.parametrize("method", ["centres", "distance"])
def test_methods_read_the_maps_that_they_need(tmp_path, true_maps, touching_cells, write_store, method):
    maps = true_maps(touching_cells(0), 10.0)
    names = ["dx", "distance", "centre", "dy"]  # in whatever order they were stored
    prediction = write_store(
        tmp_path / "S1.json",
        maps["foreground"][None],
        maps={name: maps[name] for name in names},
        fingerprint="p",
    )
    label(prediction, method=method)
    cells = verified.open_label_store(prediction, "cells")[:]
    np.testing.assert_array_equal(cells, number_by_blocks(separate(maps, Decoding(0.6, method)), SIDE))


def test_a_map_that_is_damaged_is_named(tmp_path, true_maps, touching_cells, write_store):
    maps = true_maps(touching_cells(0))
    names = ["centre", "dy", "dx"]
    prediction = write_store(
        tmp_path / "S1.json",
        maps["foreground"][None],
        maps={name: maps[name] for name in names},
        fingerprint="p",
    )
    folder = manifests.store_path(prediction) / "maps"
    omezarr.write_block(
        omezarr.open_levels(folder, "r+"), (slice(0, 160), slice(0, 190)), np.zeros((3, 160, 190), np.uint8)
    )
    with pytest.raises(DamagedDataError, match=r"maps.*is not what was written"):
        label(prediction, method="centres")


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "nth"), [("separate_block", 1), ("separate_block", 3), ("number_block", 3), ("_number", 1)]
)
def test_an_interrupted_labelling_goes_on_to_the_same_result(prediction, monkeypatch, stage, nth):
    original, calls = getattr(label_slide_module, stage), []

    def die(*args):
        calls.append(args)
        if len(calls) == nth:
            raise Killed
        return original(*args)

    monkeypatch.setattr(label_slide_module, stage, die)
    with pytest.raises(Killed):
        label(prediction)
    monkeypatch.setattr(label_slide_module, stage, original)
    assert "cells" not in manifests.read_manifest(prediction)
    separated = []
    separate_block = label_slide_module.separate_block
    monkeypatch.setattr(
        label_slide_module, "separate_block", lambda *args: separated.append(args) or separate_block(*args)
    )
    label(prediction)
    assert len(separated) == (7 - nth if stage == "separate_block" else 0)
    np.testing.assert_array_equal(verified.open_label_store(prediction, "cells")[:], expected(prediction))


@pytest.mark.slow
def test_other_parameters_start_again_and_sweep_what_was_left(prediction, monkeypatch):
    def die(*args):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(label_slide_module, "number_block", die)
        label(prediction, "a" * 64)
    label(prediction, "b" * 64, threshold=0.55)
    cells = verified.open_label_store(prediction, "cells")[:]
    np.testing.assert_array_equal(cells, expected(prediction, 0.55))
    assert not list((manifests.store_path(prediction) / "labels").glob(".cells*"))


def test_two_at_once_are_refused(prediction, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    with locks.locked(prediction.with_name(".S1@cells.lock")), pytest.raises(MachineError, match="pid"):
        label(prediction)


def test_the_fingerprint_depends_on_prediction_and_parameters():
    def known(prediction="p", version="0.5", threshold=0.5, method="distance", **options):
        return cells_fingerprint({"fingerprint": prediction}, Decoding(threshold, method, **options), version)

    others = [known("q"), known(threshold=0.6), known(method="components"), known(min_area=9)]
    others += [known(version="0.4"), known(merge_ratio=0.8), known(min_probability=0.7)]
    assert len({known(), *others}) == 8
    assert known() == known()


def test_more_cells_than_can_be_numbered_are_refused():
    check_count(2**32 - 1)
    with pytest.raises(OverflowError, match="4294967296"):
        check_count(2**32)
