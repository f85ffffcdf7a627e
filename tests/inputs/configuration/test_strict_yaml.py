import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.errors import InputError
from slideunet.inputs.configuration.strict_yaml import duplicate_keys, read_yaml_strictly


def found(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return duplicate_keys(path)


def test_a_duplicate_key_is_named_with_both_lines(tmp_path):
    problems = found(tmp_path, "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n")
    assert len(problems) == 2
    assert "line 5: the key b.c is already in line 3" in problems[0]
    assert "line 6: the key a is already in line 1" in problems[1]


def test_equal_keys_in_different_sections_are_fine(tmp_path):
    assert found(tmp_path, "a: {c: 1}\nb: {c: 1}\nd: [{c: 1}, {c: 2}]\nc: 1\n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n\tb: 1\n", "line 2: there is a tab"),
        ("a: [1\nb: 2\n", "not valid YAML"),
        ("__use_yte__: true\n", "__use_yte__ is refused"),
        (b"a: \xff\xfe\n", "not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_explained(tmp_path, text, expected):
    assert expected in found(tmp_path, text)[0]
    with pytest.raises(InputError):
        read_yaml_strictly(tmp_path / "my.yaml")


def test_a_missing_file_is_named(tmp_path):
    assert "nowhere.yaml" in duplicate_keys(tmp_path / "nowhere.yaml")[0]


def test_an_alias_of_itself_ends(tmp_path):
    assert found(tmp_path, "a: &x [*x]\nb: &y {c: *y}\n") == []


def test_empty_is_fine(tmp_path):
    assert found(tmp_path, "") == []


names = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(names, st.integers() | st.dictionaries(names, st.integers(), max_size=3), max_size=4))
def test_what_yaml_writes_is_read_as_it_is(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("yaml") / "c.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    if "__use_yte__" not in str(config):
        assert read_yaml_strictly(path) == config
