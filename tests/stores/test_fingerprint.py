import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideunet.stores.fingerprint import file_identity, fingerprint

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


def test_a_large_file_is_known_by_its_place_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr("slideunet.stores.fingerprint._READ_WHOLE", 2)
    path = tmp_path / "a.png"
    path.write_bytes(b"123")
    os.utime(path, ns=(10, 10))
    first = file_identity(path)
    assert file_identity(path) == first == [str(path), 3, 10]
    os.utime(path, ns=(20, 20))
    assert file_identity(path) != first
    path.write_bytes(b"1234")
    os.utime(path, ns=(10, 10))
    assert file_identity(path) != first


def test_a_file_that_is_gone_is_another_one(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    there = file_identity(path)
    path.unlink()
    assert file_identity(path) != there


def test_a_folder_is_another_one_when_a_file_in_it_changes(tmp_path):
    chunk = tmp_path / "image.zarr" / "0" / "c" / "0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(b"123")
    (tmp_path / "image.zarr" / "zarr.json").write_text("{}")
    first = file_identity(tmp_path / "image.zarr")
    assert first[1] == 5
    os.utime(chunk, ns=(first[2] + 10**9,) * 2)
    assert file_identity(tmp_path / "image.zarr") != first
