"""A model as a bioimage.io package (ONNX and test tensors), for Fiji, ilastik, QuPath and BiaPy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bioimageio.spec import save_bioimageio_package
from bioimageio.spec.model import v0_5

from slideunet import __version__
from slideunet.network.architecture.unet import UNet, UNetSpec
from slideunet.sharing.onnx_graph import OPSET, MapsGraph, write_onnx

_PERCENTILES = {"percentile": (1.0, 99.8), "unit": (0.0, 100.0), "symmetric": (0.0, 100.0)}
_UNET_PAPER = "10.1007/978-3-319-24574-4_28"


def write_package(network: UNet, facts: Mapping[str, Any], card: Path, path: Path) -> None:
    """Write a zipped package for `bioimageio.core`.

    Parameters
    ----------
    network : UNet
    facts : mapping
        `model.json` of the network.
    card : Path
        Documentation in Markdown.
    path : Path
        Ends in .zip; the parts are written to a folder beside it.
    """
    parts = path.with_suffix("")
    parts.mkdir(parents=True, exist_ok=True)
    maps = MapsGraph(network)
    write_onnx(maps, parts / "model.onnx")
    pixels = _test_pixels(network.spec, facts["halo"])
    np.save(parts / "test_input.npy", pixels)
    with torch.inference_mode():
        np.save(parts / "test_output.npy", maps(torch.from_numpy(_normalised(pixels, facts))).numpy())
    save_bioimageio_package(_description(path.stem, network.spec, facts, card, parts), output_path=path)


def _description(
    name: str, spec: UNetSpec, facts: Mapping[str, Any], card: Path, parts: Path
) -> v0_5.ModelDescr:
    """Describe the model in version 0.5 of the format."""
    least = v0_5.ParameterizedSize(min=2 * facts["halo"] + spec.multiple, step=spec.multiple)
    image = v0_5.InputTensorDescr(
        id=v0_5.TensorId("image"),
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=[v0_5.Identifier(f"channel{i}") for i in range(spec.channels)]),
            *(v0_5.SpaceInputAxis(id=v0_5.AxisId(axis), size=least) for axis in "yx"),
        ],
        preprocessing=_preprocessing(facts),
        test_tensor=v0_5.FileDescr(source=parts / "test_input.npy"),
    )
    maps = v0_5.OutputTensorDescr(
        id=v0_5.TensorId("maps"),
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=[v0_5.Identifier(map_name) for map_name in spec.maps]),
            *(_output_axis(axis, facts["halo"]) for axis in "yx"),
        ],
        test_tensor=v0_5.FileDescr(source=parts / "test_output.npy"),
    )
    weights = v0_5.OnnxWeightsDescr(source=parts / "model.onnx", opset_version=OPSET)
    return v0_5.ModelDescr(
        name=f"slideunet {name}",
        description="U-Net for cells: foreground probability, and maps that separate touching cells. "
        f"Foreground threshold {facts['threshold']:.3f}.",
        authors=[v0_5.Author(name="slideunet")],
        cite=[v0_5.CiteEntry(text="Ronneberger et al. 2015, U-Net", doi=v0_5.Doi(_UNET_PAPER))],
        license=v0_5.LicenseId("MIT"),
        documentation=v0_5.FileDescr(source=card),
        tags=["segmentation", "cells", "unet", f"slideunet-{__version__}"],
        inputs=[image],
        outputs=[maps],
        weights=v0_5.WeightsDescr(onnx=weights),
    )


def _output_axis(axis: str, margin: int) -> v0_5.SpaceOutputAxisWithHalo:
    size = v0_5.SizeReference(tensor_id=v0_5.TensorId("image"), axis_id=v0_5.AxisId(axis))
    return v0_5.SpaceOutputAxisWithHalo(id=v0_5.AxisId(axis), size=size, halo=margin)


def _preprocessing(facts: Mapping[str, Any]) -> list[Any]:
    """Return the steps of `slides.normalisation`, each image by itself.

    "auto" of the background cannot be said in this format: such a model is described for dark ones.
    """
    axes = [v0_5.AxisId("y"), v0_5.AxisId("x")]
    mode, bright = facts["normalisation"], facts["background"] == "bright"
    steps: list[Any]
    if mode == "zscore":
        steps = [v0_5.ZeroMeanUnitVarianceDescr(kwargs=v0_5.ZeroMeanUnitVarianceKwargs(axes=axes))]
        inversion = (-1.0, 0.0)
    else:
        low, high = _PERCENTILES[mode]
        kwargs = v0_5.ScaleRangeKwargs(axes=axes, min_percentile=low, max_percentile=high)
        steps = [v0_5.ScaleRangeDescr(kwargs=kwargs)]
        inversion = (-1.0, 1.0)
    if bright:
        steps.append(_linear(*inversion))
    if mode == "symmetric":
        steps.append(_linear(2.0, -1.0))
    return [v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32")), *steps]


def _linear(gain: float, offset: float) -> v0_5.ScaleLinearDescr:
    return v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=gain, offset=offset))


def _test_pixels(spec: UNetSpec, halo: int) -> np.ndarray:
    """Return an image (1, c, y, x) uint8 of discs on a dim, noisy background."""
    rng = np.random.default_rng(0)
    side = 2 * halo + 4 * spec.multiple
    rows, columns = np.indices((side, side))
    near = np.full((side, side), np.inf)
    for y, x in rng.uniform(0, side, (side * side // 1500, 2)):
        near = np.minimum(near, np.hypot(rows - y, columns - x))
    plane = 30 + 120 / (1 + np.exp(near - 9)) + rng.normal(0, 6, (spec.channels, side, side))
    return np.clip(plane, 0, 255).astype(np.uint8)[None]


def _normalised(pixels: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    """Normalise as described by `_preprocessing`, with the epsilon of the format against division by zero."""
    mode, values = facts["normalisation"], pixels.astype(np.float32)
    axes: Any = {"axis": (2, 3), "keepdims": True}
    sign = -1 if facts["background"] == "bright" else 1
    if mode == "zscore":
        return (sign * (values - values.mean(**axes)) / (values.std(**axes) + 1e-6)).astype(np.float32)
    low, high = np.percentile(values, _PERCENTILES[mode], **axes)
    scaled = (values - low) / (high - low + 1e-6)
    scaled = 1 - scaled if sign < 0 else scaled
    return (2 * scaled - 1 if mode == "symmetric" else scaled).astype(np.float32)
