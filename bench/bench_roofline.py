"""Roofline of a network: operations and bytes of each level against the measured peaks of the machine.

    python bench/bench_roofline.py [--preset light] [--precision fp32] [--core 256] [--repeats 60]

One thread of OpenVINO. The time of an operation is the best of all repeats on a small tile, so that another
load on the machine matters less; the peaks are in processor time. Bytes are those of the inputs and outputs
of convolutions, as if nothing stayed in a cache. Operations are those before up-sampling is merged.
"""

import argparse
import re
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/lib"))

import numpy as np
import openvino
import torch
from processor import processor
from torch import nn

from slideunet.geometry.tiles import Tile
from slideunet.network.architecture.receptive_field import halo
from slideunet.network.architecture.unet import PRESETS, UNet, UNetSpec
from slideunet.network.inference.openvino_engine import OpenVINOEngine, in_own_thread
from slideunet.slides.normalisation import Normalisation

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_SIZES = {"fp32": 4, "bf16": 2}
_MAPS, _SIDE, _COPIED = 256, 64, 200_000_000
Costs = dict[str, tuple[float, float]]
"""Multiply-accumulates and bytes by level."""


def level(name: str, depth: int) -> str:
    """Return the level of a layer, such as "decoder, stride 2" of "up.2" at depth 4."""
    if found := re.match(r"(?:up|decoder|merged)\.(\d+)", name):
        return f"decoder, stride {2 ** (depth - 1 - int(found[1]))}"
    if found := re.match(r"encoder\.(?:first|stages\.(\d+))", name):
        return f"encoder, stride {1 if found[1] is None else 2 ** (int(found[1]) + 1)}"
    return "head" if name.startswith("head") else "other operations"


def costs(spec: UNetSpec, side: int, margin: int, size: int) -> Costs:
    """Return what the convolutions of each level compute and move, on a batch of no images."""
    found: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))

    def note(name: str, module: nn.Module, values: torch.Tensor, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        taps = module.kernel_size[0] ** 2 if isinstance(module, nn.Conv2d) else 1
        outputs = float(np.prod(output.shape[1:]))
        work = taps * module.in_channels * outputs / module.groups
        found[level(name, spec.depth)] += [work, size * (np.prod(values.shape[1:]) + outputs)]

    network = UNet(spec).eval()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: note(name, module, inputs[0], output)
            )
    with torch.inference_mode():
        network(torch.empty(0, spec.channels, side, side), margin)
    return {name: (work, moved) for name, (work, moved) in found.items()}


def times(spec: UNetSpec, precision: str, core: int, repeats: int) -> dict[str, float]:
    """Return the seconds of each level in OpenVINO, one thread, the best of all repeats of each operation."""
    engine = OpenVINOEngine(UNet(spec).eval(), "fp32", 1, halo(spec))
    options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    graph = engine.graph()
    request = in_own_thread(
        lambda: openvino.Core().compile_model(graph, "CPU", options).create_infer_request()
    )
    side, span = core + 2 * engine.margin, (engine.margin, engine.margin + core)
    pixels = np.random.default_rng(0).random((spec.channels, side, side), np.float32)
    plain = Normalisation((0.0,) * spec.channels, (1.0,) * spec.channels)
    inputs, best = engine.inputs(Tile(pixels, (span, span)), plain), dict[str, float]()
    for _ in range(repeats):
        request.infer(inputs)
        for one in request.profiling_info:
            seconds = one.real_time.total_seconds()
            best[one.node_name] = min(best.get(one.node_name, seconds), seconds)
    sums: defaultdict[str, float] = defaultdict(float)
    for node, seconds in best.items():
        name = node.split("/")[0].removeprefix("__module.network.")
        sums[level(name, spec.depth)] += seconds
    return dict(sums)


def peaks(precision: str, repeats: int) -> tuple[float, float]:
    """Return the multiply-accumulates per second of a wide convolution, and the bytes of a copy."""
    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    maps = torch.rand(1, _MAPS, _SIDE, _SIDE).to(kind).contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(_MAPS, _MAPS, 3, 3).to(kind).contiguous(memory_format=torch.channels_last)
    source, target = np.ones(_COPIED, np.uint8), np.empty(_COPIED, np.uint8)
    product, copy = [], []
    for _ in range(repeats):
        begun = time.process_time()
        with torch.inference_mode():
            nn.functional.conv2d(maps, kernel, padding=1)
        middle = time.process_time()
        np.copyto(target, source)
        product.append(middle - begun)
        copy.append(time.process_time() - middle)
    return 9 * _MAPS**2 * _SIDE**2 / min(product), 2 * _COPIED / min(copy)


def main(preset: str, encoder: str, precision: str, core: int, repeats: int) -> None:
    """Print a table of the levels."""
    torch.set_num_threads(1)
    name = None if encoder == "none" else encoder
    spec = UNetSpec(1, encoder=name, heads=("distance",), **PRESETS[preset])  # type: ignore[arg-type]
    margin = 32
    most, speed = peaks(precision, repeats)
    known = costs(spec, core + 2 * margin, margin, _SIZES[precision])
    found = times(spec, precision, core, repeats)
    pixels = core**2 / 1e6
    print(f"{preset}, {encoder}, {precision}, core {core} px, one thread, {processor()}")
    print(f"Peaks: {most / 1e9:.0f} GMAC/s (convolution of 256 maps), {speed / 1e9:.1f} GB/s (copy)\n")
    print("| level | MAC/px | bytes/px | ms/Mpx at the peaks: operations, bytes | measured | of the larger |")
    print("|---|---|---|---|---|---|")
    total = [0.0, 0.0, 0.0]
    for label, seconds in sorted(found.items(), key=lambda row: -row[1]):
        work, moved = known.get(label, (0.0, 0.0))
        row = [1e3 * value / pixels for value in (work / most, moved / speed, seconds)]
        total = [before + value for before, value in zip(total, row, strict=True)]
        share = f"{max(row[:2]) / row[2]:.2f}" if work else ""
        print(
            f"| {label} | {work / pixels / 1e6:,.0f} | {moved / pixels / 1e6:,.0f} | "
            f"{row[0]:.0f}, {row[1]:.0f} | {row[2]:.0f} | {share} |"
        )
    print(f"| all | | | {total[0]:.0f}, {total[1]:.0f} | {total[2]:.0f} | |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="light")
    parser.add_argument("--encoder", choices=["efficientnet_lite0", "none"], default="efficientnet_lite0")
    parser.add_argument("--precision", choices=_SIZES, default="fp32")
    parser.add_argument("--core", type=int, default=256, help="side of the tile without its margin, in px")
    parser.add_argument("--repeats", type=int, default=60)
    main(**vars(parser.parse_args()))
