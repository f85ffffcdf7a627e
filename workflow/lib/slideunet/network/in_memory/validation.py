"""Validation on images in memory: predicted on the device one by one, scored in other processes."""

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch

from slideunet.cells.separation.decoding import Decoding, fitting_methods
from slideunet.logs import with_lines
from slideunet.model_json import Precision
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import UNet
from slideunet.network.in_memory.archive import PackedImage
from slideunet.network.in_memory.prepared import truth
from slideunet.network.in_memory.recipe import Recipe
from slideunet.network.in_memory.scores import ImageScore, by_source, score_image
from slideunet.network.inference.engines import Engine, build_engine, engine_of_machine
from slideunet.network.inference.scaling.rescaled import predict_whole
from slideunet.network.inference.torch_engine import TorchEngine
from slideunet.slides.normalisation import normalisation
from slideunet.slides.statistics import survey


def some_of_each(images: Sequence[PackedImage], most: int | None) -> list[PackedImage]:
    """Return at most `most` images of each source, evenly spaced in its list."""
    chosen: list[PackedImage] = []
    for source in sorted({image.entry.source for image in images}):
        candidates = [image for image in images if image.entry.source == source]
        count = min(len(candidates), most or len(candidates))
        chosen += [candidates[i * len(candidates) // count] for i in range(count)]
    return chosen


def predict_image(
    engine: Engine, image: np.ndarray, recipe: Recipe, scale: float = 1.0
) -> dict[str, np.ndarray]:
    """Return the maps (y, x) uint8 of an image (c, y, x), as of a slide; see `predict_at`."""
    constants = normalisation(survey(image)[0], recipe.normalisation, recipe.background)
    return predict_whole(engine, image, constants, scale)


@dataclass(frozen=True)
class Validator:
    """Scores networks on the same images.

    Attributes
    ----------
    images : sequence of PackedImage
    recipe : Recipe
    helpers : Executor or None
        Processes that score; None scores in this process.
    """

    images: Sequence[PackedImage]
    recipe: Recipe
    helpers: Executor | None = None

    def begin(self, network: UNet, precision: Precision) -> "Pending":
        """Predict all images; their scores may still be pending.

        The number of torch's threads is restored: an engine on a CPU sets it to one.
        """
        device = next(network.parameters()).device
        threads, reach = torch.get_num_threads(), halo(network.spec)
        engine: Engine = (
            TorchEngine(network, precision, device, reach)
            if device.type == "cuda"
            else build_engine(network, engine_of_machine("auto"), precision, threads, reach)
        )
        decoding = Decoding(0.5, fitting_methods(engine.spec.maps)[0])
        scores: list[tuple[str, Future[ImageScore] | ImageScore]] = []
        for packed in with_lines(self.images, "images validated", len(self.images)):
            task = (truth(packed.labels), predict_image(engine, packed.image, self.recipe), decoding)
            score = self.helpers.submit(score_image, *task) if self.helpers else score_image(*task)
            scores.append((packed.entry.source, score))
        torch.set_num_threads(threads)
        return Pending(scores)


@dataclass(frozen=True)
class Pending:
    """Scores of images that may still be pending."""

    scores: Sequence[tuple[str, Future[ImageScore] | ImageScore]]

    @property
    def ready(self) -> bool:
        """Whether `result` returns without waiting."""
        return all(score.done() for _, score in self.scores if isinstance(score, Future))

    def result(self) -> dict[str, ImageScore]:
        """Return the score of each source."""
        return by_source(
            (source, score.result() if isinstance(score, Future) else score) for source, score in self.scores
        )


def start_helpers(cores: int) -> ProcessPoolExecutor | None:
    """Return processes that prepare images and score during training; None with fewer than 4 cores.

    They are forked at their first task, which must come before the first use of a GPU; a spawned process
    would load torch, which it does not need.
    """
    return ProcessPoolExecutor(min(cores - 1, 16), get_context("fork")) if cores >= 4 else None
