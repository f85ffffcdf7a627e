import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.images.stores import open_image_store, open_label_store
from slideunet.network.inference import for_inference, predict_tiles, to_uint8
from slideunet.network.validation import Validation, validate

pytestmark = pytest.mark.usefixtures("one_thread")


def dice(found, wanted):
    total = found.sum() + wanted.sum()
    return 2 * (found & wanted).sum() / total if total else 1.0


def count(probabilities, truths):
    """Count each slide, given flat probabilities and truths."""
    slides = list(zip(probabilities, truths, strict=True))
    return Validation(
        0.0,
        np.array([np.bincount(probability[truth], minlength=256) for probability, truth in slides]),
        np.array([np.bincount(probability[~truth], minlength=256) for probability, truth in slides]),
    )


@given(st.integers(0, 10**6), st.lists(st.integers(1, 400), min_size=1, max_size=3), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_dice_and_the_best_threshold_are_those_of_brute_force(seed, sizes, share):
    rng = np.random.default_rng(seed)
    truths = [rng.random(n) < share for n in sizes]
    probabilities = [
        np.where(truth, rng.normal(150, 60, len(truth)), rng.normal(100, 60, len(truth)))
        .clip(0, 255)
        .astype(np.uint8)
        for truth in truths
    ]
    validation = count(probabilities, truths)
    everything, truth = np.concatenate(probabilities), np.concatenate(truths)
    assert validation.pooled_dice(0.5) == pytest.approx(dice(everything / 255 >= 0.5, truth))

    def mean(cut):
        return np.mean([dice(p >= cut, t) for p, t in zip(probabilities, truths, strict=True)])

    best = validation.best_threshold()
    assert 0 < best < 1
    assert mean(best * 255) == pytest.approx(max(mean(cut) for cut in range(1, 256)), abs=1e-5)


def test_where_every_threshold_is_as_good_the_middle_is_taken():
    truth = np.repeat([True, False], 50)
    sure, empty = np.where(truth, 255, 0), np.zeros(100, int)
    assert count([sure], [truth]).best_threshold() == pytest.approx(0.5, abs=0.01)
    assert count([empty], [empty > 0]).best_threshold() == pytest.approx(0.5, abs=0.01)


def test_every_pixel_of_every_slide_is_counted(tmp_path, convert_cells, labelled_slide, random_network):
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
        ((_, plane),) = predict_tiles(for_inference(network), pixels, slide.normalisation)
        logits.append(plane.ravel())
        truth.append(open_label_store(slide.manifest, "truth")[:].ravel() > 0)
    expected = count([to_uint8(plane) for plane in logits], truth)
    np.testing.assert_array_equal(found.foreground, expected.foreground)
    np.testing.assert_array_equal(found.background, expected.background)
    everything = torch.from_numpy(np.concatenate(truth).astype(np.float32))
    whole = loss(torch.from_numpy(np.concatenate(logits)), everything)
    assert found.loss == pytest.approx(whole.item(), rel=1e-5)
