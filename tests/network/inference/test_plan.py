import json
from dataclasses import replace
from pathlib import Path

import openvino
import pytest
import torch

from slideunet.cells.separation.decoding import Decoding
from slideunet.errors import DamagedDataError, InputError
from slideunet.model_json import int8_facts
from slideunet.network.inference.plan import PredictionPlan, engine_version, plan_prediction, used_facts
from slideunet.network.inference.scaling.sizing import Sizing
from slideunet.stores.manifests import write_manifest

FACTS = {
    "architecture": {"channels": 1, "width": 4, "depth": 2}, "normalisation": "unit", "background": "dark",
    "halo": 24, "threshold": 0.5, "precision": "bf16", "sha256": "abc",
}  # fmt: skip
SIZINGS = [
    Sizing((12, 50), None, Decoding(0.5, "distance")), Sizing((12, 50), 90.0, Decoding(0.5, "distance")),
    Sizing((12, 60), None, Decoding(0.5, "distance")), Sizing((12, 50), None, Decoding(0.6, "distance")),
]  # fmt: skip
PLAN = PredictionPlan(Path("model"), used_facts(FACTS), "openvino", "fp32")
SECTION = {
    "threshold": "tuned", "tile": "auto", "parts": 1, "tissue": "auto",
    "engine": "torch", "precision": "bf16",
}  # fmt: skip


@pytest.fixture
def images(tmp_path):
    for slide in ("a", "b"):
        write_manifest(tmp_path / f"{slide}.json", {"fingerprint": f"f-{slide}"})
    return tmp_path


def plan_of(folder, section=SECTION, method="auto"):
    return plan_prediction(
        folder / "model", folder / "predictions", section, method=method, version="0.4", threads=1, pixels=1
    )


def test_the_model_and_the_configuration_are_read_once(tmp_path, random_network, save_network, monkeypatch):
    save_network(tmp_path / "model", random_network(heads=["distance", "centres"]), training={"contents": []})
    plan = plan_of(tmp_path, SECTION | {"tile": 512, "tissue": "none"}, "centres")
    facts = json.loads((tmp_path / "model/model.json").read_text())
    assert plan.facts == {name: facts[name] for name in FACTS if name not in ("threshold", "precision")}
    rest = (plan.engine, plan.precision, plan.tile, plan.tissue, plan.version, plan.heads)
    assert rest == ("torch", "bf16", 512, "none", "0.4", ("centres",))
    monkeypatch.chdir(tmp_path)
    assert plan_of(Path()).model == tmp_path / "model"
    assert (plan_of(Path()).tile, plan_of(Path()).heads) == (None, ("distance",))


def test_a_model_without_what_the_method_needs_is_the_users_mistake(tmp_path, random_network, save_network):
    save_network(tmp_path / "model", random_network())
    with pytest.raises(InputError, match=r"cells\.method is centres"):
        plan_of(tmp_path, method="centres")


def test_what_changes_a_byte_changes_the_fingerprint_and_nothing_else(images):
    def known(plan=PLAN, slide="a", **changes):
        return replace(plan, facts=used_facts(FACTS | changes)).fingerprint(images / f"{slide}.json")

    assert known() == known(threshold=0.7) == known(training={"seconds": 3}) == known(replace(PLAN, tile=512))
    assert known() == known(replace(PLAN, model=Path("elsewhere")))
    others = [
        known(slide="b"), known(sha256="abd"), known(normalisation="zscore"), known(background="auto"),
        known(halo=32), known(architecture=FACTS["architecture"] | {"width": 8}),
        known(replace(PLAN, engine="torch")), known(replace(PLAN, precision="bf16")),
        known(replace(PLAN, heads=("distance",))), known(replace(PLAN, tissue="none")),
        known(replace(PLAN, version="0.4")),
        *(known(replace(PLAN, sizing=sizing)) for sizing in SIZINGS),
    ]  # fmt: skip
    assert len({known(), *others}) == len(others) + 1
    with pytest.raises(DamagedDataError):
        known(slide="absent")


def test_ranges_belong_to_a_prediction_in_int8_only(images):
    def known(precision, highest):
        facts = FACTS | {"int8": int8_facts({"decoder.0.0": (0.0, highest)})}
        plan = replace(PLAN, facts=used_facts(facts, precision), precision=precision)
        return plan.fingerprint(images / "a.json")

    assert known("fp32", 1.0) == known("fp32", 2.0) == PLAN.fingerprint(images / "a.json")
    assert len({known("int8", 1.0), known("int8", 2.0), known("int8-bf16", 1.0), known("fp32", 1.0)}) == 4


def test_the_version_of_an_engine_is_that_of_its_package():
    assert openvino.__version__.startswith(engine_version("openvino"))
    assert torch.__version__.startswith(engine_version("torch").split("+")[0])
