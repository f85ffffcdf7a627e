import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideunet.stores.fingerprint import file_identity, file_times, fingerprint

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(min_size=1), values, max_size=4))
def test_the_order_of_facts_does_not_matter(facts):
    assert fingerprint(**facts) == fingerprint(**dict(reversed(facts.items())))
    assert len(fingerprint(**facts)) == 64


@given(values, values)
def test_other_facts_have_another_fingerprint(one, other):
    assert (fingerprint(fact=one) == fingerprint(fact=other)) == (
        repr(one) == repr(other) or same_json(one, other)
    )
    assert fingerprint(fact=one) != fingerprint(truth=one)


def same_json(one, other):
    """Equal values of equal types: 1, 1.0 and true are three facts; the order of keys is none."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def test_what_json_does_not_have_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(mean=float("nan"))
    with pytest.raises(TypeError):
        fingerprint(path=os)


def test_a_file_is_known_by_its_content_wherever_and_whenever(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"123")
    first = file_identity(path)
    os.utime(path, ns=(20, 20))
    path.rename(tmp_path / "b.png")
    assert file_identity(tmp_path / "b.png") == first
    path.write_bytes(b"124")
    assert file_identity(path) != first


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr("slideunet.stores.fingerprint._READ_WHOLE", 40)
    monkeypatch.setattr("slideunet.stores.fingerprint._PIECE", 4)
    monkeypatch.setattr("slideunet.stores.fingerprint._PIECES", 8)


@pytest.mark.usefixtures("small_limits")
def test_a_large_file_is_known_by_its_content_wherever_and_whenever(tmp_path):
    content = bytes(range(61))
    path = tmp_path / "a.png"
    path.write_bytes(content)
    first = file_identity(path)
    os.utime(path, ns=(20, 20))
    assert file_identity(path.rename(tmp_path / "b.png")) == first
    for place in (0, 3, 25, 57, 60):
        path.write_bytes(content[:place] + b"x" + content[place + 1 :])
        os.utime(path, ns=(20, 20))
        assert file_identity(path) != first
    path.write_bytes(content + b"x")
    assert file_identity(path) != first


def test_a_file_that_is_gone_is_another_one(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    there = file_identity(path)
    path.unlink()
    assert file_identity(path) != there


def write_folder(path, chunks=20, length=3):
    (path / "0").mkdir(parents=True)
    (path / "0" / "zarr.json").write_text("{}")
    for number in range(chunks):
        (path / "0" / f"{number:02}").write_bytes(bytes([number]) * length)
    return path


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("length", [1, 9], ids=["read whole", "sampled"])
def test_a_folder_is_known_by_its_content_wherever_and_whenever(tmp_path, length):
    folder = write_folder(tmp_path / "a.zarr", length=length)
    first = file_identity(folder)
    for file in folder.rglob("*"):
        os.utime(file, ns=(20, 20))
    assert file_identity(folder.rename(tmp_path / "b.zarr")) == first
    for change in (
        lambda path: [chunk.write_bytes(b"x" * length) for chunk in (path / "0").glob("[0-9]*")],
        lambda path: (path / "0" / "zarr.json").write_text("[]"),
        lambda path: (path / "0" / "07").write_bytes(b"x" * (length + 1)),
        lambda path: (path / "0" / "07").rename(path / "0" / "99"),
        lambda path: (path / "0" / "07").unlink(),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        change(write_folder(folder, length=length))
        assert file_identity(folder) != first


def test_times_change_when_a_file_is_replaced_by_an_older_one_or_a_chunk_is_rewritten(tmp_path):
    folder = write_folder(tmp_path / "a.zarr")
    first = file_times(folder)
    assert file_times(folder) == first
    os.utime(folder / "0" / "07", ns=(20, 20))
    assert file_times(folder) != first
    assert file_times(folder / "0" / "07") != file_times(folder / "0" / "08")
    assert file_times(tmp_path / "gone") == file_times(tmp_path / "nowhere")
