import json

import pytest

from slideunet.errors import DamagedDataError, InputError
from slideunet.model_json import (
    encoder_source,
    int8_facts,
    int8_ranges,
    learned_contents,
    read_model_facts,
    training_fingerprint,
)
from slideunet.stores.manifests import write_manifest

FACTS = {
    "architecture": {"channels": 1, "width": 4, "depth": 2}, "normalisation": "unit", "background": "dark",
    "halo": 24, "threshold": 0.5, "precision": "bf16", "sha256": "abc",
}  # fmt: skip


@pytest.fixture
def images(tmp_path):
    for slide in ("a", "b", "c"):
        facts = {"fingerprint": f"f-{slide}", "content": f"c-{slide}", "truth_content": f"t-{slide}"}
        write_manifest(tmp_path / f"{slide}.json", facts)
    return tmp_path


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"sha256": "a"}'])
def test_an_invalid_model_json_is_reported(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.weights: .*model\.json is not (readable|a model)"):
        read_model_facts(tmp_path)


@pytest.mark.parametrize("name", FACTS)
def test_a_missing_fact_is_reported(tmp_path, name):
    (tmp_path / "model.json").write_text(json.dumps({key: FACTS[key] for key in FACTS if key != name}))
    with pytest.raises(InputError, match=rf"is not a model of slideunet: {name} is missing"):
        read_model_facts(tmp_path)


def test_ranges_for_int8_return_as_they_were_written():
    ranges = {"encoder.first.3": (0.0, 6.834322), "head": (-30.377369, 30.140045)}
    facts = json.loads(json.dumps({"int8": int8_facts(ranges) | {"crops": 48}}))
    assert int8_ranges(facts) == ranges


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored["ranges"].update(a=[0.0, 7.0]),
        lambda stored: stored["ranges"].clear(),
        lambda stored: stored.update(sha256="0"),
        lambda stored: stored.pop("sha256"),
        lambda stored: stored.pop("ranges"),
    ],
)
def test_damaged_ranges_are_found_by_their_digest(damage):
    stored = int8_facts({"a": (0.0, 6.0)})
    damage(stored)
    with pytest.raises(DamagedDataError, match=r"ranges for int8 in model\.json do not match"):
        int8_ranges({"int8": stored})


def test_contents_of_training_slides_are_read(tmp_path):
    facts = FACTS | {"training": {"contents": ["c-a", "c-b"]}}
    (tmp_path / "model.json").write_text(json.dumps(facts))
    assert learned_contents(tmp_path) == ["c-a", "c-b"]


@pytest.mark.parametrize("training", [{}, {"training": None}, {"training": {"seed": 0}}])
def test_a_model_without_contents_of_training_slides_is_rejected(tmp_path, training):
    (tmp_path / "model.json").write_text(json.dumps(FACTS | training))
    with pytest.raises(InputError, match=r"does not list the slides .*training\.contents.*Train it again"):
        learned_contents(tmp_path)


def test_a_training_depends_on_pixels_truth_and_settings(images):
    def digest(train=("a", "b"), val=("c",), **training):
        slides = {"train": list(train), "val": list(val)}
        return training_fingerprint(slides, images, {"preset": "light"}, {"channels": None}, training)

    first = digest()
    assert digest() == first
    changed = digest(epochs=3), digest(train=("a",)), digest(train=("b", "a")), digest(("a",), ("b", "c"))
    assert len({first, *changed}) == 5
    write_manifest(images / "a.json", {"fingerprint": "other", "content": "c-a", "truth_content": "t-a"})
    assert digest() == first
    write_manifest(images / "a.json", {"fingerprint": "other", "content": "c-a", "truth_content": "t2"})
    assert digest() != first


def test_a_file_of_encoder_weights_is_identified_by_its_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (encoder_source({"encoder_weights": str(tmp_path / name)}) for name in "abc")
    assert a == b != c
    assert [encoder_source({"encoder_weights": name}) for name in ("imagenet", "random")] == [
        "imagenet",
        "random",
    ]
