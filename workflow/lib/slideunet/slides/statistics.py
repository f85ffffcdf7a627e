"""Intensity statistics of a slide, computed per block in any order and pooled at the end."""

import base64
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.geometry.pixels import Pixels

LOW, HIGH = 1.0, 99.8
_SAMPLES_PER_BLOCK = 512

Survey = dict[str, Any]  # JSON values, because the journal stores the survey of each block


def content(dtype: np.dtype, shape: Sequence[int], digests: Iterable[str]) -> str:
    """Return the SHA-256 of a slide's pixels, independent of the file format.

    `digests` are those of all blocks in their order.
    """
    return hashlib.sha256(f"{np.dtype(dtype)} {list(shape)} {' '.join(digests)}".encode()).hexdigest()


def survey(pixels: Pixels) -> tuple[list[dict[str, float]], str]:
    """Read a slide (c, y, x) once, block by block; return channel statistics and pixel digest.

    See `pooled` and `content`.
    """
    blocks = (np.ascontiguousarray(pixels[..., *region]) for region in BlockGrid(pixels.shape))
    surveys, digests = zip(*((survey_block(block), digest(block)) for block in blocks), strict=True)
    return pooled(surveys), content(pixels.dtype, pixels.shape, digests)


def survey_block(pixels: np.ndarray) -> list[Survey]:
    """Return the statistics of one block (c, y, x) that `pooled` needs, per channel.

    8- and 16-bit integers give a histogram, floats give sums and a regular sample of at most 512 x 512 px.
    """
    return [_counted(plane) if plane.dtype.kind == "u" else _sampled(plane) for plane in pixels]


def pooled(surveys: Sequence[list[Survey]]) -> list[dict[str, float]]:
    """Pool the block statistics of a slide, in the order of the blocks, per channel.

    Returns
    -------
    list of dict
        min, max, mean, std over all pixels; low (1st), median and high (99.8th) percentiles, exact for 8- and
        16-bit integers, from the sample for floats.
    """
    return [
        _from_counts(ones) if "counts" in ones[0] else _from_samples(ones)
        for ones in zip(*surveys, strict=True)
    ]


def _counted(plane: np.ndarray) -> Survey:
    # Pillow counts bytes as they are; NumPy makes eight bytes of each first, three times as long.
    counts = (
        np.array(Image.fromarray(plane).histogram())
        if plane.dtype == np.uint8
        else np.bincount(plane.ravel(), minlength=256)
    )
    return {"counts": _packed(np.trim_zeros(counts, "b").astype("<i8"))}


def _from_counts(surveys: Sequence[Survey]) -> dict[str, float]:
    parts = [_unpacked(one["counts"], "<i8") for one in surveys]
    counts = np.zeros(max(map(len, parts)), np.int64)
    for part in parts:
        counts[: len(part)] += part
    values = np.arange(len(counts), dtype=np.float64)
    present = np.flatnonzero(counts)
    mean = float(counts @ values) / int(counts.sum())
    # The value at rank ceil(p n / 100), NumPy's method "inverted_cdf".
    ranks = np.maximum(np.ceil(np.asarray([LOW, 50.0, HIGH]) / 100 * counts.sum()), 1)
    low, median, high = (float(value) for value in np.searchsorted(np.cumsum(counts), ranks))
    return {
        "min": float(present[0]),
        "max": float(present[-1]),
        "mean": mean,
        "std": float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum())),
        "low": low,
        "median": median,
        "high": high,
    }


def _sampled(plane: np.ndarray) -> Survey:
    exact = plane.astype(np.float64)
    step = [-(-side // _SAMPLES_PER_BLOCK) for side in plane.shape]
    return {
        "n": plane.size,
        "sum": float(exact.sum()),
        "squares": float(np.square(exact).sum()),
        "min": float(plane.min()),
        "max": float(plane.max()),
        "samples": _packed(plane[:: step[0], :: step[1]].astype("<f4")),
    }


def _from_samples(surveys: Sequence[Survey]) -> dict[str, float]:
    n = sum(one["n"] for one in surveys)
    mean = sum(one["sum"] for one in surveys) / n
    samples = np.concatenate([_unpacked(one["samples"], "<f4") for one in surveys])
    low, median, high = (float(value) for value in np.percentile(samples, [LOW, 50.0, HIGH]))
    return {
        "min": min(one["min"] for one in surveys),
        "max": max(one["max"] for one in surveys),
        "mean": mean,
        "std": float(np.sqrt(max(sum(one["squares"] for one in surveys) / n - mean**2, 0.0))),
        "low": low,
        "median": median,
        "high": high,
    }


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), level=1)).decode()


def _unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)
