import json
import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from slideunet.errors import DamagedDataError
from slideunet.geometry.blocks import BlockGrid
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores.files import write_atomically
from slideunet.stores.manifests import is_current, read_manifest, write_manifest

OLD, NEW = (np.full((1, 600, 530), value, np.uint8) for value in (1, 2))


class Killed(BaseException):
    pass


@pytest.fixture
def manifest(tmp_path, write_store):
    return write_store(tmp_path / "S1.json", OLD, fingerprint="old")


def chunk_files(store, array="0"):
    return sorted(path for path in (store / array / "c").rglob("*") if path.is_file())


def test_a_store_replaces_another(manifest, write_store):
    assert is_current(manifest, "old")
    write_store(manifest, NEW, fingerprint="new")
    assert is_current(manifest, "new")
    assert not is_current(manifest, "old")
    assert (verified.open_image_store(manifest)[:] == 2).all()
    assert sorted(path.name for path in manifest.parent.iterdir()) == [".S1.lock", "S1.json", "S1.zarr"]


@pytest.mark.parametrize("array", ["0", "1"])
def test_a_deleted_chunk_is_noticed_when_its_array_is_opened(manifest, array):
    chunk_files(manifests.store_path(manifest), array)[-1].unlink()
    with pytest.raises(DamagedDataError, match=rf"S1.zarr/{array}: 1 of \d chunks are missing"):
        verified.open_image_store(manifest, int(array))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_chunk_is_noticed_when_it_is_read(tmp_path, write_store, version, damage):
    pixels = np.random.default_rng(0).integers(0, 255, (1, 100, 90)).astype(np.uint8)
    write_store(tmp_path / "S1.json", pixels, version=version)
    chunk = tmp_path / ("S1.zarr/0/0/0/0" if version == "0.4" else "S1.zarr/0/c/0/0/0")
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes({"truncated": data[:-20], "flipped": data, "empty": b""}[damage])
    array = verified.open_image_store(tmp_path / "S1.json")
    with pytest.raises(DamagedDataError, match=r"S1\.zarr/0 cannot be read at .*--forcerun"):
        array[:, 5:9, :40]


@pytest.mark.parametrize(
    "damage", ["no store", "no metadata", "metadata truncated", "array gone", "no multiscales"]
)
def test_a_damaged_store_is_explained(manifest, damage):
    store = manifests.store_path(manifest)
    if damage == "no store":
        store.rename(store.with_name("elsewhere"))
    elif damage == "no metadata":
        (store / "zarr.json").unlink()
    elif damage == "metadata truncated":
        (store / "zarr.json").write_text((store / "zarr.json").read_text()[:50])
    elif damage == "array gone":
        (store / "0/zarr.json").unlink()
    else:
        (store / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(DamagedDataError, match=r"S1\.zarr.* cannot be opened "):
        verified.open_image_store(manifest)


@pytest.mark.parametrize(
    "changes", [{"shape": [1, 600, 531]}, {"shape": None}, {"blocks": []}, {"blocks": ["a"] * 2}]
)
def test_a_store_that_is_not_the_one_of_its_manifest_is_refused(manifest, changes):
    write_manifest(manifest, read_manifest(manifest) | changes)
    with pytest.raises(DamagedDataError, match="do not belong together"):
        verified.open_image_store(manifest)
    without = {key: fact for key, fact in read_manifest(manifest).items() if key not in changes}
    write_manifest(manifest, without)
    with pytest.raises(DamagedDataError, match="do not belong together"):
        verified.open_image_store(manifest)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff\xfe"])
def test_a_damaged_manifest_is_explained_and_not_current(manifest, text):
    manifest.write_bytes(text.encode("latin-1"))
    assert not is_current(manifest, "old")
    with pytest.raises(DamagedDataError, match=r"S1\.json is not readable"):
        read_manifest(manifest)


def test_a_manifest_without_its_store_is_not_current(manifest):
    verified.shutil.rmtree(manifests.store_path(manifest))
    assert not is_current(manifest, "old")


def put_labels(manifest, value, name="cells"):
    labels = np.full((600, 530), value, np.uint32)
    partial = manifests.store_path(manifest) / "labels" / f".{name}.partial"
    omezarr.write_labels(partial, labels, name=name, mpp=None)
    facts = {"n_cells": value, "blocks": verified.block_digests(labels)}
    verified.replace_labels(manifest, name, partial, facts)


def test_labels_are_put_into_a_store_and_into_its_manifest(manifest):
    put_labels(manifest, 7)
    put_labels(manifest, 8)
    put_labels(manifest, 1, name="other")
    assert (verified.open_label_store(manifest, "cells")[:] == 8).all()
    facts = read_manifest(manifest)
    assert (facts["cells"]["n_cells"], facts["other"]["n_cells"], facts["fingerprint"]) == (8, 1, "old")
    assert facts["cells"]["blocks"] == verified.block_digests(np.full((600, 530), 8, np.uint32))
    assert omezarr.metadata(manifests.store_path(manifest) / "labels")["labels"] == ["cells", "other"]


def test_incomplete_labels_leave_the_old_ones(manifest):
    put_labels(manifest, 7)
    partial = manifests.store_path(manifest) / "labels" / ".cells.partial"
    omezarr.write_labels(partial, np.full((600, 530), 9, np.uint32), mpp=None)
    chunk_files(partial)[0].unlink()
    with pytest.raises(DamagedDataError, match="chunks are missing"):
        verified.replace_labels(manifest, "cells", partial, {"n_cells": 9})
    assert read_manifest(manifest)["cells"]["n_cells"] == 7
    assert (verified.open_label_store(manifest, "cells")[:] == 7).all()


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "rename"), (omezarr, "list_labels"), (verified.shutil, "rmtree")]
)
def test_killed_while_labels_are_replaced_the_manifest_does_not_speak_of_them(
    manifest, owner, name, monkeypatch
):
    put_labels(manifest, 7)
    partial = manifests.store_path(manifest) / "labels" / ".cells.partial"
    omezarr.write_labels(partial, np.full((600, 530), 9, np.uint32), mpp=None)

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, die)
        verified.replace_labels(manifest, "cells", partial, {"n_cells": 9})
    assert "cells" not in read_manifest(manifest)
    assert is_current(manifest, "old")
    verified.shutil.rmtree(partial, ignore_errors=True)
    put_labels(manifest, 9)
    assert (verified.open_label_store(manifest, "cells")[:] == 9).all()


def test_a_label_image_that_is_not_there_is_explained(manifest):
    with pytest.raises(DamagedDataError, match="labels/truth cannot be opened"):
        verified.open_label_store(manifest, "truth")


def test_a_label_image_that_the_manifest_does_not_know_is_refused(manifest):
    put_labels(manifest, 7)
    write_manifest(manifest, {key: fact for key, fact in read_manifest(manifest).items() if key != "cells"})
    with pytest.raises(DamagedDataError, match="labels/cells has blocks: 1, its manifest knows 0"):
        verified.open_label_store(manifest, "cells")


# Slides of several blocks: what is whole but in the wrong place

LARGE = np.random.default_rng(3).integers(0, 255, (2, 530, 520)).astype(np.uint8)  # 2 x 2 blocks of 512 px


@pytest.fixture(params=["0.4", "0.5"])
def large(request, tmp_path, small_blocks, write_store):
    labels = LARGE[0].astype(np.uint32)
    return write_store(tmp_path / "S1.json", LARGE, labels=labels, version=request.param)


def exchange(one, other):
    for path in (one, other):
        assert path.exists()
    third = one.with_name("third")
    one.rename(third)
    other.rename(one)
    third.rename(other)


def exchange_blocks(level, version):
    """Put the first and the second block of the first column in each other's place, whole."""
    channels = ["0"] if level.parent.name != "truth" else []
    if version == "0.5":
        folder = level.joinpath("c", *channels)
        exchange(folder / "0" / "0", folder / "1" / "0")
    else:
        for column in range(8):
            folder = level.joinpath(*channels)
            exchange(folder / "0" / str(column), folder / "8" / str(column))


def version_of(manifest):
    return "0.4" if (manifests.store_path(manifest) / ".zgroup").exists() else "0.5"


WINDOWS = {
    "all": np.s_[:],
    "ellipsis": np.s_[..., :512, 0:520],
    "a block": np.s_[:, 512:1024, :512],
    "more than a block": np.s_[:, 500:530, :515],
    "the first column": np.s_[..., :, :512],
}


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS)
def test_every_window_that_holds_a_whole_block_is_checked(large, window):
    index = WINDOWS[window]
    np.testing.assert_array_equal(verified.open_image_store(large)[index], LARGE[index])
    exchange_blocks(manifests.store_path(large) / "0", version_of(large))
    place = r"S1\.zarr/0: block (0 \(rows 0 to 512|2 \(rows 512 to 530), columns 0 to 512\) is not what was"
    with pytest.raises(DamagedDataError, match=place):
        verified.open_image_store(large)[index]


def test_labels_in_the_wrong_place_are_noticed(large):
    labels = verified.open_label_store(large, "truth")
    for index in (np.s_[:], np.s_[0:520], np.s_[:512, :512]):
        np.testing.assert_array_equal(labels[index], LARGE[0][index])
    exchange_blocks(manifests.store_path(large) / "labels" / "truth" / "0", version_of(large))
    with pytest.raises(DamagedDataError, match=r"labels/truth/0: block 0"):
        labels[:520]


def test_other_pixels_of_the_same_shape_are_noticed(large, write_store, tmp_path):
    other = write_store(tmp_path / "other" / "S1.json", 255 - LARGE, version=version_of(large))
    for name in ("0", "1", "2"):
        exchange(manifests.store_path(large) / name, manifests.store_path(other) / name)
    with pytest.raises(DamagedDataError, match="block 0 "):
        verified.open_image_store(large)[:]


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_every_block_counts(large, block):
    level = zarr.open_array(manifests.store_path(large) / "0", mode="r+")
    region = BlockGrid(LARGE.shape)[block]
    level[(..., region[0].stop - 1, region[1].stop - 1)] ^= 1
    image = verified.open_image_store(large)
    for other in set(range(4)) - {block}:
        where = (slice(None), *BlockGrid(LARGE.shape)[other])
        np.testing.assert_array_equal(image[where], LARGE[where])
    with pytest.raises(
        DamagedDataError, match=rf"block {block} \(rows {region[0].start} to {region[0].stop}"
    ):
        image[(slice(None), *region)]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["gone", "empty", "truncated", "its end is gone", "flipped", "longer"])
def test_a_damaged_file_of_a_large_slide_is_named(large, damage):
    store = manifests.store_path(large)
    level = omezarr.open_level(store, 0)
    name = sorted(omezarr.chunk_files(level))[1]
    path, data = store / "0" / name, bytearray((store / "0" / name).read_bytes())
    data[len(data) // 2] ^= 4
    if damage == "gone":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(
            {
                "empty": b"",
                "truncated": whole[: len(whole) // 3],
                "its end is gone": whole[:-3],
                "flipped": data,
                "longer": whole + b"more",
            }[damage]
        )
    with pytest.raises(
        DamagedDataError, match=r"S1\.zarr/0(: 1 of \d+ chunks are missing| cannot be read at)"
    ):
        verified.open_image_store(large)[:]
    # Coarser levels can still be looked at.
    assert verified.open_image_store(large, 1)[:].shape == (2, 265, 260)


INDICES = {
    "whole": (np.s_[:], ((0, 530), (0, 520))),
    "rows": (np.s_[:, 3:9], ((3, 9), (0, 520))),
    "a channel": (np.s_[0], None),
    "some channels": (np.s_[0:1, :, :], None),
    "steps": (np.s_[:, ::2, :], None),
    "one pixel": (np.s_[:, 5, 5], None),
    "beyond the end": (np.s_[:, 500:5000, -5:], ((500, 530), (515, 520))),
    "nothing": (np.s_[:, 9:3, :], ((9, 3), (0, 520))),
    "ellipsis": (np.s_[..., 4:5, 6:7], ((4, 5), (6, 7))),
    "only ellipsis": (np.s_[...], ((0, 530), (0, 520))),
    "ellipsis in between": (np.s_[:, ..., 6:7], ((0, 530), (6, 7))),
}


def spans(window):
    return window and tuple((part.start, part.stop) for part in window)


@pytest.mark.parametrize("name", INDICES)
def test_which_rows_and_columns_an_index_means(name):
    index, expected = INDICES[name]
    assert spans(verified._window(index, LARGE.shape)) == expected


def test_of_one_channel_the_channel_may_be_picked():
    assert spans(verified._window(np.s_[0], (1, 8, 9))) == ((0, 8), (0, 9))
    assert spans(verified._window(np.s_[2:4], (8, 9))) == ((2, 4), (0, 9))


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace")])
def test_a_file_is_the_old_or_the_new_one_whole(tmp_path, owner, name, monkeypatch):
    path = tmp_path / "deep" / "file.txt"
    write_atomically(path, "old")
    write_atomically(path, b"newer")
    assert path.read_text() == "newer"

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "half written")
    assert path.read_text() == "newer"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_a_manifest_holds_no_value_that_json_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(tmp_path / "m.json", {"mean": float("nan")})
    write_manifest(tmp_path / "m.json", {"mpp": None})
    assert json.loads((tmp_path / "m.json").read_text()) == {"mpp": None}
