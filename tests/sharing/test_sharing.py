import numpy as np
import onnxruntime
import pytest
import torch
from bioimageio.core import test_model as check_package
from bioimageio.spec import InvalidDescr, load_description

from slideunet.sharing.bioimage import write_package
from slideunet.sharing.onnx_graph import MapsGraph, write_onnx

HEADS = ("distance", "centres")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
def test_onnxruntime_agrees_for_any_number_and_size(tmp_path, random_network, stride):
    network = random_network(channels=2, heads=HEADS, head_stride=stride)
    write_onnx(MapsGraph(network), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for shape in ((1, 2, 16, 16), (3, 2, 40, 24), (2, 2, 64, 100)):
        image = torch.randn(shape)
        with torch.inference_mode():
            raw = network(image)
        expected = torch.cat([raw[:, :3].sigmoid(), 8 * raw[:, 3:]], dim=1)
        (maps,) = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(maps[:, :3], expected[:, :3], atol=1e-4)
        # With random weights, offsets are hundreds of pixels.
        np.testing.assert_allclose(maps[:, 3:], expected[:, 3:], atol=1e-5 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "background", "stride"),
    [
        ("percentile", "dark", 2),
        ("percentile", "bright", 1),
        ("symmetric", "bright", 1),
        ("zscore", "bright", 1),
    ],
)
def test_bioimageio_reproduces_the_test_tensors(tmp_path, random_network, mode, background, stride):
    card = tmp_path / "MODEL_CARD.md"
    card.write_text("# A model\n")
    facts = {"normalisation": mode, "background": background, "threshold": 0.5, "halo": 24}
    network = random_network(channels=1, heads=HEADS, head_stride=stride)
    write_package(network, facts, card, tmp_path / "nuclei.zip")
    described = load_description(tmp_path / "nuclei.zip")
    assert not isinstance(described, InvalidDescr)
    assert [axis.id for axis in described.outputs[0].axes] == ["batch", "channel", "y", "x"]
    summary = check_package(tmp_path / "nuclei.zip")
    assert summary.status in ("passed", "valid-format"), summary.format()
    assert all(detail.status == "passed" for detail in summary.details), summary.format()
