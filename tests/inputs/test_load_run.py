from pathlib import Path

import numpy as np
import pytest
import tifffile

from slideunet.errors import InputError
from slideunet.inputs.load_run import load_run
from slideunet.stores.manifests import write_manifest

ROOT = Path(__file__).resolve().parents[2]
FACTS = {
    "architecture": {}, "normalisation": "percentile", "background": "dark", "halo": 96, "threshold": 0.5,
    "precision": "fp32", "sha256": "",
}  # fmt: skip


@pytest.fixture
def load(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8))
    (tmp_path / "slides.tsv").write_text("slide\timage\na\ta.tif\n")
    write_manifest(tmp_path / "model" / "model.json", FACTS | {"diameter": {"median": 20.0}})
    write_manifest(tmp_path / "old" / "model.json", FACTS)
    write_manifest(tmp_path / "half" / "model.json", FACTS)
    for name in ("model", "old"):
        (tmp_path / name / "model.safetensors").touch()

    def run(**config):
        return load_run(
            {"slides": "slides.tsv", "model": {"weights": "model"}} | config,
            config_files=[tmp_path / "config.yaml"],
            schemas=ROOT / "workflow" / "schemas",
            root=ROOT,
        )

    (tmp_path / "config.yaml").write_text("slides: slides.tsv\n")
    return run


@pytest.mark.parametrize(("diameter", "factor"), [(None, 1.0), (50, 2.5), (20, 1.0), (21.0, 1.05), (8, 1.0)])
def test_images_shrink_until_large_cells_have_the_size_that_the_model_knows(load, diameter, factor):
    assert load(cells={"diameter": diameter}).shrink_by == pytest.approx(factor)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {}}, r"cells\.diameter: .* trains its own"),
        ({"data": {"mpp": 0.5}}, r"cells\.diameter and data\.mpp: both"),
        ({"model": {"weights": "old"}}, r"old/model\.json does not have the cell diameter"),
        ({"model": {"weights": "nowhere"}}, r"there is no model\.json in nowhere"),
        ({"model": {"weights": "half"}}, r"half has a model\.json but no model\.safetensors"),
        ({"cells": {"diameter": 0}}, r"cells\.diameter"),
        ({"cells": {"diameter": "20 px"}}, r"cells\.diameter"),
    ],
)
def test_a_diameter_that_means_nothing_is_refused(load, config, message):
    with pytest.raises(InputError, match=message):
        load(**{"cells": {"diameter": 40}} | config)


def test_encoder_weights_are_found_beside_the_configuration_and_a_missing_file_is_named(load, tmp_path):
    (tmp_path / "lite.pth").write_bytes(b"")
    found = load(model={"encoder": "efficientnet_lite0", "encoder_weights": "lite.pth", "weights": "model"})
    assert found.config["model"]["encoder_weights"] == str(tmp_path / "lite.pth")
    with pytest.raises(InputError, match=r"model\.encoder_weights: there is no file none\.pth"):
        load(model={"encoder": "efficientnet_lite0", "encoder_weights": "none.pth", "weights": "model"})


@pytest.mark.parametrize("name", ["nuclei-fluorescence", "nuclei-brightfield"])
def test_a_model_that_ships_is_found_by_its_name(load, name):
    run = load(model={"weights": name}, cells={"diameter": 400})
    assert run.weights == ROOT / "resources" / "models" / name
    assert run.shrink_by > 4


def test_a_misspelt_column_of_the_report_names_the_nearest(load, tmp_path):
    (tmp_path / "slides.tsv").write_text("slide\timage\tscanner\na\ta.tif\tx\n")
    assert load(report={"by": ["scanner", "group"]}).config["report"]["by"] == ["scanner", "group"]
    with pytest.raises(InputError, match=r"no column 'scaner'\. Did you mean 'scanner'\?"):
        load(report={"by": ["scaner"]})
