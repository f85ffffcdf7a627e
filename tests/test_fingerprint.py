import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideunet.fingerprint import file_identity, fingerprint

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
    assert (fingerprint(fact=one) == fingerprint(fact=other)) == (repr(one) == repr(other) or same_json(one, other))
    assert fingerprint(fact=one) != fingerprint(truth=one)


def same_json(one, other):
    """Equal values of equal types: 1 and 1.0 and true are three different facts; the order of keys is none."""
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


def test_a_file_is_another_one_when_its_size_time_or_place_changes(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"123")
    os.utime(path, ns=(10, 10))
    first = file_identity(path)
    assert file_identity(path) == first == [str(path), 3, 10]
    os.utime(path, ns=(20, 20))
    changed = [file_identity(path)]
    path.write_bytes(b"1234")
    os.utime(path, ns=(10, 10))
    changed.append(file_identity(path))
    path.rename(tmp_path / "b.png")
    changed.append(file_identity(tmp_path / "b.png"))
    assert all(identity != first for identity in changed)


def test_a_folder_is_another_one_when_a_file_in_it_changes(tmp_path):
    chunk = tmp_path / "image.zarr" / "0" / "c" / "0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(b"123")
    (tmp_path / "image.zarr" / "zarr.json").write_text("{}")
    first = file_identity(tmp_path / "image.zarr")
    assert first[1] == 5
    os.utime(chunk, ns=(first[2] + 10**9,) * 2)
    assert file_identity(tmp_path / "image.zarr") != first
