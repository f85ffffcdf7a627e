"""How far apart the models of several seeds are: the same slides scored by each of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slideunet.cells.decoding import decoding_for
from slideunet.cells.separation import foreground_cut
from slideunet.images.stores import read_manifest
from slideunet.images.unjudged import judged_cells
from slideunet.network.decodings import middle_block, score
from slideunet.network.inference import best_device
from slideunet.network.model import labelled_slides
from slideunet.network.patches import LabelledSlide
from slideunet.network.torch_engine import TorchEngine
from slideunet.network.weights import load_model
from slideunet.scoring.instances import InstanceCounts

Facts = Mapping[str, Any]


def open_slides(slides: Sequence[str], images: Path, facts: Facts) -> list[LabelledSlide]:
    """Return labelled slides as a model sees them, given its `model.json`."""
    manifests = [read_manifest(images / f"{slide}.json") for slide in slides]
    return labelled_slides(manifests, images, facts)


def score_model(folder: Path, slides: Sequence[str], images: Path) -> dict[str, float]:
    """Score a model on labelled slides with its own threshold and decoding.

    Parameters
    ----------
    folder : Path
        Of the model.
    slides : sequence of str
    images : Path
        Folder with the manifests of the slides.

    Returns
    -------
    dict
        "dice", "ap50" and "map" of all slides together; of a slide of several blocks, of its middle one.
    """
    network, facts = load_model(folder)
    engine = TorchEngine(network, facts["precision"], best_device())
    decoding = decoding_for(facts)
    cells, pixels = InstanceCounts(), np.zeros(3, np.int64)
    for slide in open_slides(slides, images, facts):
        truth, maps = middle_block(engine, slide)
        cells += score(truth, maps, decoding)
        true, judged = judged_cells(truth)
        found = (maps["foreground"] >= foreground_cut(decoding.threshold)) & judged
        pixels += [np.sum(found & true), np.sum(found), np.sum(true)]
    both, either = int(pixels[0]), int(pixels[1] + pixels[2])
    return {"dice": 2 * both / max(either, 1), "ap50": cells.ap[0], "map": cells.mean_ap}
