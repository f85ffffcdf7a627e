from dataclasses import replace

import openvino
import pytest
import torch

from slideunet.errors import DamagedDataError, InputError
from slideunet.network.inference.plan import Plan, engine_version
from slideunet.stores.manifests import write_manifest

FACTS = {
    "architecture": {"channels": 1, "width": 4, "depth": 2}, "normalisation": "unit", "background": "dark",
    "halo": 24, "threshold": 0.5, "precision": "bf16", "sha256": "abc",
}  # fmt: skip
PLAN = Plan(engine="openvino", precision="fp32", tile=None, halo=None, tissue="auto", version="0.5")
SECTION = {"threshold": "tuned", "tile": "auto", "halo": "exact", "parts": 1, "tissue": "auto"}


@pytest.fixture
def images(tmp_path):
    for slide in ("a", "b"):
        write_manifest(tmp_path / f"{slide}.json", {"fingerprint": f"f-{slide}"})
    return tmp_path


def test_the_configuration_is_read():
    section = SECTION | {"engine": "auto", "precision": "auto"}
    assert Plan.from_section(section, "openvino", "fp32", "0.5", ()) == PLAN
    other = Plan.from_section(
        section | {"tile": 512, "halo": 0, "tissue": "none"}, "torch", "bf16", "0.4", ("distance",)
    )
    assert other == Plan("torch", "bf16", 512, 0, "none", "0.4", ("distance",))


def test_what_changes_a_byte_changes_the_fingerprint_and_nothing_else(images):
    def known(plan=PLAN, slide="a", **changes):
        return plan.fingerprint(images / f"{slide}.json", FACTS | changes)

    assert known() == known(threshold=0.7) == known(training={"seconds": 3}) == known(replace(PLAN, tile=512))
    others = [
        known(slide="b"), known(sha256="abd"), known(normalisation="zscore"), known(background="auto"),
        known(halo=32), known(architecture=FACTS["architecture"] | {"width": 8}),
        known(replace(PLAN, engine="torch")), known(replace(PLAN, precision="bf16")),
        known(replace(PLAN, halo=0)), known(replace(PLAN, halo=8)), known(replace(PLAN, halo=8, tile=512)),
        known(replace(PLAN, heads=("distance",))), known(replace(PLAN, tissue="none")),
        known(replace(PLAN, version="0.4")),
    ]  # fmt: skip
    assert len({known(), *others}) == len(others) + 1
    with pytest.raises(DamagedDataError):
        known(slide="absent")


@pytest.mark.parametrize("halo", [None, 0, 4, 20])
def test_a_halo_that_fits_the_model(halo):
    replace(PLAN, halo=halo).check_halo(FACTS)


@pytest.mark.parametrize("halo", [1, 6, 24, 4096])
def test_a_halo_that_does_not_fit_the_model_is_refused(halo):
    with pytest.raises(InputError, match=rf"prediction\.halo is {halo}\. .* a multiple of 4 below 24"):
        replace(PLAN, halo=halo).check_halo(FACTS)


def test_the_version_of_an_engine_is_that_of_its_package():
    assert openvino.__version__.startswith(engine_version("openvino"))
    assert torch.__version__.startswith(engine_version("torch").split("+")[0])
