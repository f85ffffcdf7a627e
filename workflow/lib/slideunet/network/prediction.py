"""Predicting a slide into its store: a lazy dask array of tiles, computed and written chunk by chunk."""

import logging
import time
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import torch

from slideunet import __version__
from slideunet.images import omezarr, stores
from slideunet.images.normalisation import Normalisation, normalisation
from slideunet.images.pixels import Pixels
from slideunet.images.tiling import tile_at, tile_spans
from slideunet.network.facts import Precision
from slideunet.network.inference import TILE, aligned, best_device, for_inference, predict_tile, to_uint8
from slideunet.network.unet import UNet
from slideunet.network.weights import load_model


def open_network(model: Path) -> UNet:
    """Load a model folder and make it ready for inference, on the GPU when there is one."""
    network, _ = load_model(model)
    return for_inference(network).to(best_device())


def predict_slide(
    network: UNet,
    facts: dict[str, Any],
    image: Path,
    manifest: Path,
    *,
    fingerprint: str,
    precision: Precision,
    tile: int | None,
    version: omezarr.Version,
    threads: int,
) -> None:
    """Predict one slide and write its store and manifest.

    Parameters
    ----------
    network : UNet
        From `inference.for_inference`, on the device to use.
    facts : dict
        `model.json`.
    image, manifest : Path
        Manifest of the slide, and of the prediction to write.
    fingerprint : str
        From `facts.prediction_fingerprint`.
    precision, tile, version, threads
        tile is the side of the written core in pixels; None is 1024. The result depends on neither tile nor
        threads.
    """
    start = time.perf_counter()
    slide = stores.read_manifest(image)
    constants = normalisation(slide["statistics"], facts["normalisation"], facts["background"])
    probability = lazy_prediction(
        network,
        stores.open_image_store(image),
        constants,
        tile=aligned(tile or TILE, network),
        halo=facts["halo"],
        precision=precision,
    )
    with stores.new_store(manifest) as partial, dask.config.set(scheduler="threads", num_workers=threads):
        omezarr.write_image(partial, probability, channels=["foreground"], mpp=slide["mpp"], version=version)
    seconds = time.perf_counter() - start
    speed = probability.size / seconds
    logging.info(
        f"{slide['slide']}: {probability.size / 1e6:.2f} Mpx in {seconds:.1f} s, {speed / 1e6:.2f} Mpx/s"
    )
    stores.write_manifest(
        manifest,
        {
            "slide": slide["slide"],
            "fingerprint": fingerprint,
            "shape": list(probability.shape),
            "model_sha256": facts["sha256"],
            "precision": precision,
            "mpp": slide["mpp"],
            "scale": slide["scale"],
            "seconds": round(seconds, 3),
            "pixels_per_second": round(speed),
            "versions": {"slideunet": __version__, "torch": torch.__version__},
        },
    )


def lazy_prediction(
    network: UNet, pixels: Pixels, constants: Normalisation, *, tile: int, halo: int, precision: Precision
) -> da.Array:
    """Return the foreground probability (1, y, x) uint8 of a slide as a lazy array with one chunk per tile.

    Parameters
    ----------
    pixels : array-like (c, y, x)
        Read tile by tile when the result is computed.
    constants : Normalisation
        Of the whole slide.
    tile, halo : int
        In pixels, multiples of 2^depth.
    """
    height, width = pixels.shape[-2:]
    multiple = network.spec.multiple
    chunks = [
        tuple(stop - start for (start, stop), _ in tile_spans(length, tile, halo, multiple))
        for length in (height, width)
    ]

    def compute(block_id: tuple[int, int, int]) -> np.ndarray:
        # The number of threads inside an operation changes the last bits of a convolution, so it is always
        # one; tiles are what runs in parallel. The setting belongs to the thread that makes it.
        torch.set_num_threads(1)
        place = tile_at((height, width), block_id[1:], tile, halo, multiple)
        return to_uint8(predict_tile(network, pixels, constants, place, precision))[None]

    return da.map_blocks(compute, dtype=np.uint8, chunks=((1,), *chunks), meta=np.empty((0, 0, 0), np.uint8))
