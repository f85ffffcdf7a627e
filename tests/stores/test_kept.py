import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import write_image, write_label_image

from slideunet.errors import InputError
from slideunet.inputs.configuration.schema import check_configuration
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly
from slideunet.stores import dropping, omezarr
from slideunet.stores.dropping import drop_parts
from slideunet.stores.kept import IN_PREDICTION, KEEPABLE, check_kept, dropped_parts, kept_parts
from slideunet.stores.manifests import read_fingerprint, read_manifest, store_path, write_manifest
from slideunet.stores.verified import (
    block_digests,
    check_complete,
    open_image_store,
    open_label_store,
    open_maps_store,
    replace_labels,
)

SCHEMA = read_yaml_strictly(Path(__file__).parents[2] / "workflow/schemas/config.schema.yaml")


def checked(keep):
    return check_configuration({"slides": "s.tsv", "data": {"keep": keep}}, SCHEMA)["data"]["keep"]


@given(st.lists(st.sampled_from(KEEPABLE), unique=True))
def test_any_list_of_parts_is_taken_in_any_order(parts):
    kept = kept_parts(checked(parts))
    assert sorted(kept) == sorted(parts)
    assert kept == kept_parts(list(reversed(parts)))


def test_all_is_every_part_and_the_default():
    assert kept_parts(checked("all")) == KEEPABLE
    assert check_configuration({"slides": "s.tsv"}, SCHEMA)["data"]["keep"] == "all"
    assert kept_parts(checked(list(KEEPABLE))) == KEEPABLE


words = st.text(st.characters(categories=["L", "N"]), max_size=12).filter(lambda word: word not in KEEPABLE)


@given(
    st.one_of(
        words.filter(lambda word: word != "all"),
        st.lists(st.one_of(words, st.integers(), st.none()), min_size=1),
        st.sampled_from(KEEPABLE).map(lambda part: [part, part]),
        st.sampled_from(KEEPABLE),
        st.none() | st.booleans() | st.integers(),
    )
)
def test_anything_else_is_refused_with_what_is_allowed(keep):
    with pytest.raises(InputError) as caught:
        checked(keep)
    assert all("data.keep" in problem for problem in caught.value.problems)
    assert all(problem.count("slides, maps, predictions, labels") == 1 for problem in caught.value.problems)


@pytest.fixture(params=["0.5", "0.4"])
def prediction(request, tmp_path):
    """A prediction with maps, cells and a tissue mask."""
    manifest, version = tmp_path / "S1.json", request.param
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.integers(0, 255, (1, 301, 277), np.uint8),
        "maps": rng.integers(0, 255, (2, 301, 277), np.uint8),
        "cells": rng.integers(0, 9, (301, 277), np.uint32),
        "tissue": np.ones((76, 70), np.uint32),
    }
    store = store_path(manifest)
    write_image(store, arrays["image"], channels=["foreground"], mpp=None, version=version)
    write_image(store / "maps", arrays["maps"], channels=["dy", "dx"], mpp=None, version=version)
    for name in ("cells", "tissue"):
        write_label_image(store, name, arrays[name], mpp=None, version=version)
    digests = {name: {"blocks": block_digests(array)} for name, array in arrays.items()}
    facts = {"fingerprint": "p", "shape": [1, 301, 277]} | digests.pop("image") | digests
    facts["cells"]["fingerprint"] = "c"
    write_manifest(manifest, facts)
    return manifest, arrays


OPEN = {
    "predictions": open_image_store,
    "maps": open_maps_store,
    "labels": lambda manifest: open_label_store(manifest, "cells"),
}


@pytest.mark.parametrize("parts", [["maps"], ["predictions"], ["labels"], ["maps", "labels"], IN_PREDICTION])
def test_what_is_dropped_is_gone_and_named_and_the_rest_stays(prediction, parts):
    manifest, arrays = prediction
    assert drop_parts(manifest, parts)
    assert not drop_parts(manifest, parts)
    facts = read_manifest(manifest)
    assert dropped_parts(facts) == set(parts)
    assert (read_fingerprint(manifest), read_fingerprint(manifest, "cells")) == ("p", "c")
    for part, name in (("predictions", "image"), ("maps", "maps"), ("labels", "cells")):
        if part in parts:
            with pytest.raises(InputError, match=rf"S1\.json: the .* no longer there.* add {part} to"):
                OPEN[part](manifest)
            with pytest.raises(InputError):
                check_kept(manifest, part)
        else:
            np.testing.assert_array_equal(OPEN[part](manifest)[:], arrays[name])
            check_kept(manifest, part)
    np.testing.assert_array_equal(open_label_store(manifest, "tissue")[:], arrays["tissue"])
    listed = omezarr.metadata(store_path(manifest) / "labels")["labels"]
    assert listed == (["tissue"] if "labels" in parts else ["cells", "tissue"])
    assert len(list(store_path(manifest).rglob("c/0"))) < 12 or "labels" not in parts
    size = sum(file.stat().st_size for file in store_path(manifest).rglob("*") if file.is_file())
    assert size < {1: 600_000, 2: 400_000, 3: 20_000}[len(parts)]


@pytest.mark.parametrize("at", range(3))
def test_a_kill_while_parts_are_removed_costs_nothing_but_the_same_call_again(prediction, monkeypatch, at):
    manifest, _ = prediction
    calls = []

    def killed(path):
        if len(calls) == at:
            # Half of a folder is gone.
            shutil.rmtree(path / "0", ignore_errors=True)
            raise KeyboardInterrupt
        calls.append(path)
        shutil.rmtree(path)

    with monkeypatch.context() as patch:
        patch.setattr(dropping, "shutil", type("shutil", (), {"rmtree": staticmethod(killed)}))
        with pytest.raises(KeyboardInterrupt):
            drop_parts(manifest, IN_PREDICTION)
    # No reader meets a store of which a part is gone.
    for part in IN_PREDICTION:
        with pytest.raises(InputError, match=r"data\.keep"):
            OPEN[part](manifest)
    assert drop_parts(manifest, IN_PREDICTION)
    assert not any((store_path(manifest) / name).exists() for name in ("0", "maps", "labels/cells"))


def test_labels_that_are_made_again_are_no_longer_dropped(prediction, tmp_path):
    manifest, arrays = prediction
    drop_parts(manifest, ["maps", "labels"])
    new = tmp_path / "new"
    omezarr.write_labels(new, arrays["cells"], mpp=None, name="cells")
    replace_labels(manifest, "cells", new, {"fingerprint": "d", "blocks": block_digests(arrays["cells"])})
    facts = json.loads(manifest.read_text())
    assert dropped_parts(facts) == {"maps"}
    np.testing.assert_array_equal(open_label_store(manifest, "cells")[:], arrays["cells"])


def test_a_store_that_was_never_dropped_from_is_complete(prediction):
    manifest, _ = prediction
    check_complete(store_path(manifest))
    assert dropped_parts(read_manifest(manifest)) == frozenset()
    assert "dropped" not in read_manifest(manifest)
