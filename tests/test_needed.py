"""Which dropped parts of a prediction are needed again: all ways of keeping against what is up to date."""

import itertools
import json

import pytest

from slideunet import needed
from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.label_slide import cells_fingerprint
from slideunet.needed import missing_parts
from slideunet.stores.kept import IN_PREDICTION, KEEPABLE

STAGES = ("separated", "measured", "shared")


@pytest.fixture
def slide(tmp_path, monkeypatch):
    """A slide of which all parts are gone, with results that are up to date or not."""
    decoding = Decoding(0.5, "components")
    monkeypatch.setattr("slideunet.model_json.read_model_facts", lambda model: {})
    monkeypatch.setattr("slideunet.cells.separation.decoding.decoding_for", lambda *_, **__: decoding)
    prediction = tmp_path / "S1.json"
    later = {name: str(tmp_path) for name in ("slides", "cells", "metrics")}
    later |= {"threshold": 0.5, "separation": {}, "version": "0.5", "ome_tiff": True}

    def set_up(gone, *, separated, measured, shared):
        facts = {"fingerprint": "p", "dropped": list(gone)}
        cells = cells_fingerprint(facts, decoding, "0.5") if separated else "of other parameters"
        prediction.write_text(json.dumps(facts | {"cells": {"fingerprint": cells}}))
        monkeypatch.setattr(needed, "_is_measured", lambda *_: measured)
        found = cells if shared else None
        monkeypatch.setattr("slideunet.cells.export.ome_tiff.image_fingerprint", lambda path: found)
        return {"S1": prediction}, later

    return set_up


def subsets(parts):
    return [set(found) for n in range(len(parts) + 1) for found in itertools.combinations(parts, n)]


def asked(parts, keep, later, model):
    return missing_parts(parts, keep, later, model)["S1"]


@pytest.mark.parametrize("gone", subsets(IN_PREDICTION), ids=lambda gone: "+".join(sorted(gone)) or "nothing")
def test_whatever_has_to_be_made_is_made_of_what_is_there_or_asked_for(slide, gone, tmp_path):
    for stages in itertools.product((True, False), repeat=3):
        current = dict(zip(STAGES, stages, strict=True))
        predictions, later = slide(gone, **current)
        for keep in subsets(KEEPABLE):
            found = asked(predictions, keep, later, tmp_path)
            assert found <= gone
            there = set(IN_PREDICTION) - gone | found
            assert keep & set(IN_PREDICTION) <= there
            if not current["separated"]:
                assert {"maps", "predictions"} <= there
            if not all(stages[:2]):
                assert {"predictions", "labels"} <= there
            if not current["shared"]:
                assert "labels" in there
            if "labels" in found:
                assert {"maps", "predictions"} <= there
            if all(stages) and not keep & gone:
                assert not found


def test_what_was_never_dropped_and_what_is_not_there_asks_for_nothing(slide, tmp_path):
    predictions, later = slide((), separated=False, measured=False, shared=False)
    assert asked(predictions, (), later, tmp_path) == frozenset()
    assert asked({"S1": tmp_path / "missing.json"}, KEEPABLE, later, tmp_path) == frozenset()


def test_where_everything_is_kept_all_that_is_gone_is_asked_for(slide, tmp_path):
    predictions, _ = slide(("maps", "labels"), separated=True, measured=True, shared=True)
    assert asked(predictions, KEEPABLE, None, tmp_path) == {"maps", "labels"}
