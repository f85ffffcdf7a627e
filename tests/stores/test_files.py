import os

import pytest

from slideunet.stores.files import replacing, replacing_folder


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "files"
    for name in ("a", "b"):
        with replacing_folder(path) as folder:
            (folder / name).write_text(name)
            assert folder.parent == path.parent
        assert [file.name for file in path.iterdir()] == [name]
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_folder_as_it_was(tmp_path):
    path = tmp_path / "files"
    path.mkdir()
    (path / "a").touch()
    with pytest.raises(ValueError, match="stop"), replacing_folder(path) as folder:
        (folder / "b").touch()
        raise ValueError("stop")
    assert [file.name for file in tmp_path.rglob("*")] == ["files", "a"]


def test_what_a_killed_process_of_the_same_number_left_is_removed(tmp_path):
    rest = tmp_path / f".files.{os.getpid()}.partial"
    rest.mkdir()
    (rest / "old").touch()
    with replacing_folder(tmp_path / "files") as folder:
        assert list(folder.iterdir()) == []
    rest = tmp_path / f".file.{os.getpid()}.partial"
    rest.mkdir()
    with replacing(tmp_path / "file") as file:
        file.write_text("new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "files"]
