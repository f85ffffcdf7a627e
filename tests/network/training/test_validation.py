import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.separate import separate
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.inference.predict_region import predict_core
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.network.training.validation import Validation, validate
from slideunet.scoring.instance_metrics import InstanceCounts, count_instances
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.stores.verified import open_image_store, open_label_store

pytestmark = pytest.mark.usefixtures("one_thread")


def dice(found, wanted):
    total = found.sum() + wanted.sum()
    return 2 * (found & wanted).sum() / total if total else 1.0


def count(probability, truth):
    planes = (np.bincount(probability[where], minlength=256) for where in (truth, ~truth))
    return Validation(0.0, *planes, InstanceCounts())


@given(st.integers(0, 10**6), st.integers(1, 400), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_the_dice_of_every_threshold_and_the_best_one_are_those_of_brute_force(seed, n, share):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < share
    probability = (
        np.where(truth, rng.normal(150, 60, n), rng.normal(100, 60, n)).clip(0, 255).astype(np.uint8)
    )
    validation = count(probability, truth)
    brute = [dice(probability >= t, truth) for t in range(256)]
    np.testing.assert_allclose(validation.dice(), brute)
    best = validation.best_threshold()
    assert 0 < best < 1
    assert dice(probability >= best * 255, truth) >= max(brute[1:]) - 0.002 - 1e-9
    nearer = [t for t in range(1, 256) if abs(t - 0.5 - 127.5) < abs(best * 255 - 127.5) - 1e-6]
    assert all(brute[t] < max(brute[1:]) - 0.002 for t in nearer)
    assert validation.dice_at(0.5) == pytest.approx(dice(probability / 255 >= 0.5, truth))


def test_of_thresholds_that_are_as_good_the_one_nearest_to_a_half_is_taken():
    truth = np.repeat([True, False], 50)
    sure, empty = np.where(truth, 255, 0), np.zeros(100, int)
    assert count(sure, truth).best_threshold() == pytest.approx(0.5, abs=0.01)
    assert count(empty, empty > 0).best_threshold() == pytest.approx(0.5, abs=0.01)


def in_one_piece(network, pixels, slide, **options):
    engine = TorchEngine(network, "fp32", torch.device("cpu"), halo(network.spec), **options)
    core = tuple((0, side) for side in slide.shape)
    return predict_core(engine, pixels, slide.normalisation, core, tile=max(slide.shape))


def test_every_pixel_of_every_slide_is_counted(
    tmp_path, convert_cells, labelled_slide, random_network, to_uint8
):
    sizes = [(70, 61), (33, 90)]
    manifests = [
        convert_cells(tmp_path, f"S{i}", height=h, width=w, seed=i) for i, (h, w) in enumerate(sizes)
    ]
    slides = [labelled_slide(manifest) for manifest in manifests]
    network = random_network().train()
    loss = torch.nn.BCEWithLogitsLoss()
    found = validate(network, slides, loss, "fp32")
    assert network.training

    logits, truth = [], []
    for slide in slides:
        pixels = open_image_store(slide.manifest)[:]
        output = in_one_piece(network, pixels, slide, logits=True)
        logits.append(output[0].ravel())
        truth.append(open_label_store(slide.manifest, "truth")[:].ravel() > 0)
    expected = count(to_uint8(np.concatenate(logits)), np.concatenate(truth))
    np.testing.assert_array_equal(found.foreground, expected.foreground)
    np.testing.assert_array_equal(found.background, expected.background)
    everything = torch.from_numpy(np.concatenate(truth).astype(np.float32))
    whole = loss(torch.from_numpy(np.concatenate(logits)), everything)
    assert found.loss == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.usefixtures("small_blocks")
def test_cells_are_those_that_new_slides_get_also_across_blocks(
    tmp_path, convert_cells, labelled_slide, random_network
):
    """2 x 2 blocks: against the separation of the whole slide in memory."""
    slide = labelled_slide(convert_cells(tmp_path, height=530, width=560, seed=3))
    network = random_network(seed=2)
    pixels, truth = open_image_store(slide.manifest)[:], open_label_store(slide.manifest, "truth")[:]
    network.head.bias.data -= float(np.quantile(in_one_piece(network, pixels, slide, logits=True), 0.7))
    foreground = in_one_piece(network, pixels, slide)[0]
    cells = separate({"foreground": foreground}, Decoding(0.5, "watershed"))
    assert np.intersect1d(cells[511], cells[512]).any() and np.intersect1d(cells[:, 511], cells[:, 512]).any()
    found = validate(network, [slide], torch.nn.BCEWithLogitsLoss(), "fp32")
    assert found.cells == count_instances(match_arrays(count_overlaps(truth, cells)))
    assert found.cells.n_pred == len(np.unique(cells)) - 1
    counts = [np.bincount(foreground[where], minlength=256) for where in (truth > 0, truth == 0)]
    np.testing.assert_array_equal([found.foreground, found.background], counts)
