import json
import os
from pathlib import Path

import numpy as np
import pytest

from slideunet.errors import DamagedDataError
from slideunet.images import omezarr, stores
from slideunet.images.stores import is_current, new_store, read_manifest, write_atomically, write_manifest

OLD, NEW = (np.full((1, 600, 530), value, np.uint8) for value in (1, 2))


def write_store(manifest, pixels, fingerprint):
    with new_store(manifest) as partial:
        omezarr.write_image(partial, pixels, channels=["grey"], mpp=None)
    write_manifest(manifest, {"fingerprint": fingerprint, "shape": list(pixels.shape)})


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "S1.json"
    write_store(path, OLD, "old")
    return path


def chunk_files(store, array="0"):
    return sorted(path for path in (store / array / "c").rglob("*") if path.is_file())


def test_a_store_replaces_another(manifest):
    assert is_current(manifest, "old")
    write_store(manifest, NEW, "new")
    assert is_current(manifest, "new")
    assert not is_current(manifest, "old")
    assert (stores.open_image_store(manifest)[:] == 2).all()
    assert sorted(path.name for path in manifest.parent.iterdir()) == ["S1.json", "S1.zarr"]


def test_a_failure_while_writing_leaves_the_old_store(manifest):
    with pytest.raises(ZeroDivisionError), new_store(manifest) as partial:
        omezarr.write_image(partial, NEW, channels=["grey"], mpp=None)
        raise ZeroDivisionError
    assert is_current(manifest, "old")
    assert (stores.open_image_store(manifest)[:] == 1).all()
    write_store(manifest, NEW, "new")  # What was left behind is not in the way.
    assert (stores.open_image_store(manifest)[:] == 2).all()


def test_an_incomplete_store_does_not_take_the_place_of_a_complete_one(manifest):
    with pytest.raises(DamagedDataError, match="1 of 4 chunks are missing"), new_store(manifest) as partial:
        omezarr.write_image(partial, NEW, channels=["grey"], mpp=None)
        chunk_files(partial)[0].unlink()
    assert is_current(manifest, "old")
    assert (stores.open_image_store(manifest)[:] == 1).all()


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Path, "unlink"),
        (stores.shutil, "rmtree"),
        (Path, "rename"),
        (stores, "write_manifest"),
        (os, "fsync"),
        (Path, "replace"),
    ],
)
@pytest.mark.parametrize("nth", [1, 2])
def test_killed_at_any_step_no_manifest_speaks_of_a_store_that_is_not_whole(
    manifest, owner, name, nth, monkeypatch
):
    original, calls = getattr(owner, name), []

    def die(*args, **kwargs):
        calls.append(args)
        if len(calls) == nth:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, die)
    try:
        with new_store(manifest) as partial:
            omezarr.write_image(partial, NEW, channels=["grey"], mpp=None)
        stores.write_manifest(manifest, {"fingerprint": "new", "shape": list(NEW.shape)})
    except Killed:
        pass
    monkeypatch.undo()
    for fingerprint, value in (("old", 1), ("new", 2)):
        if is_current(manifest, fingerprint):
            assert (stores.open_image_store(manifest)[:] == value).all()
    if not manifest.exists():
        with pytest.raises(DamagedDataError, match="missing"):
            stores.open_image_store(manifest)
    write_store(manifest, NEW, "again")
    assert (stores.open_image_store(manifest)[:] == 2).all()


@pytest.mark.parametrize("array", ["0", "1"])
def test_a_deleted_chunk_is_noticed_when_its_array_is_opened(manifest, array):
    chunk_files(stores.store_path(manifest), array)[-1].unlink()
    with pytest.raises(DamagedDataError, match=rf"S1.zarr/{array}: 1 of \d chunks are missing"):
        stores.open_image_store(manifest, int(array))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_chunk_is_noticed_when_it_is_read(tmp_path, version, damage):
    pixels = np.random.default_rng(0).integers(0, 255, (1, 100, 90)).astype(np.uint8)
    with new_store(tmp_path / "S1.json") as partial:
        omezarr.write_image(partial, pixels, channels=["grey"], mpp=None, version=version)
    write_manifest(tmp_path / "S1.json", {"shape": [1, 100, 90]})
    chunk = tmp_path / ("S1.zarr/0/0/0/0" if version == "0.4" else "S1.zarr/0/c/0/0/0")
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes({"truncated": data[:-20], "flipped": data, "empty": b""}[damage])
    array = stores.open_image_store(tmp_path / "S1.json")
    with pytest.raises((DamagedDataError, RuntimeError, ValueError)):
        array[:]


@pytest.mark.parametrize(
    "damage", ["no store", "no metadata", "metadata truncated", "array gone", "no multiscales"]
)
def test_a_damaged_store_is_explained(manifest, damage):
    store = stores.store_path(manifest)
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
        stores.open_image_store(manifest)


def test_a_store_of_another_shape_than_its_manifest_is_refused(manifest):
    write_manifest(manifest, read_manifest(manifest) | {"shape": [1, 600, 531]})
    with pytest.raises(DamagedDataError, match="do not belong together"):
        stores.open_image_store(manifest)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff\xfe"])
def test_a_damaged_manifest_is_explained_and_not_current(manifest, text):
    manifest.write_bytes(text.encode("latin-1"))
    assert not is_current(manifest, "old")
    with pytest.raises(DamagedDataError, match=r"S1\.json is not readable"):
        read_manifest(manifest)


def test_a_manifest_without_its_store_is_not_current(manifest):
    stores.shutil.rmtree(stores.store_path(manifest))
    assert not is_current(manifest, "old")


def put_labels(manifest, value, name="cells"):
    partial = stores.store_path(manifest) / "labels" / f".{name}.partial"
    omezarr.write_labels(partial, np.full((600, 530), value, np.uint32), mpp=None)
    stores.replace_labels(manifest, name, partial, {"n_cells": value})


def test_labels_are_put_into_a_store_and_into_its_manifest(manifest):
    put_labels(manifest, 7)
    put_labels(manifest, 8)
    put_labels(manifest, 1, name="other")
    assert (stores.open_label_store(manifest, "cells")[:] == 8).all()
    facts = read_manifest(manifest)
    assert (facts["cells"], facts["other"], facts["fingerprint"]) == ({"n_cells": 8}, {"n_cells": 1}, "old")
    assert omezarr.metadata(stores.store_path(manifest) / "labels")["labels"] == ["cells", "other"]


def test_incomplete_labels_leave_the_old_ones(manifest):
    put_labels(manifest, 7)
    partial = stores.store_path(manifest) / "labels" / ".cells.partial"
    omezarr.write_labels(partial, np.full((600, 530), 9, np.uint32), mpp=None)
    chunk_files(partial)[0].unlink()
    with pytest.raises(DamagedDataError, match="chunks are missing"):
        stores.replace_labels(manifest, "cells", partial, {"n_cells": 9})
    assert read_manifest(manifest)["cells"] == {"n_cells": 7}
    assert (stores.open_label_store(manifest, "cells")[:] == 7).all()


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "rename"), (omezarr, "list_labels"), (stores.shutil, "rmtree")]
)
def test_killed_while_labels_are_replaced_the_manifest_does_not_speak_of_them(
    manifest, owner, name, monkeypatch
):
    put_labels(manifest, 7)
    partial = stores.store_path(manifest) / "labels" / ".cells.partial"
    omezarr.write_labels(partial, np.full((600, 530), 9, np.uint32), mpp=None)

    def die(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(owner, name, die)
    with pytest.raises(Killed):
        stores.replace_labels(manifest, "cells", partial, {"n_cells": 9})
    monkeypatch.undo()
    assert "cells" not in read_manifest(manifest)
    assert is_current(manifest, "old")
    stores.shutil.rmtree(partial, ignore_errors=True)
    put_labels(manifest, 9)
    assert (stores.open_label_store(manifest, "cells")[:] == 9).all()


def test_a_label_image_that_is_not_there_is_explained(manifest):
    with pytest.raises(DamagedDataError, match="labels/truth cannot be opened"):
        stores.open_label_store(manifest, "truth")


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
