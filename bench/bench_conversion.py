"""Conversion of JPEG-compressed slides: where the time goes, against the bare codec in the same process.

    python bench/bench_conversion.py SLIDE.svs [SLIDE.ome.tif ...] [--rounds 5] [--mpp 0.5]

CPU seconds per 10^6 pixels of the file's full resolution, one thread, the least of all rounds, in turns.
"codec" decodes every tile of the file by tifffile's decoder (imagecodecs, libjpeg-turbo) and drops it;
"imread" is tifffile's, "OpenSlide" its `read_region` in squares of 1024 px. The parts of a conversion are the
functions that it calls, on the blocks that they get there: reading, the digest, the statistics, the halving,
and writing with compression. "whole" is `convert` with all pixels kept, "direct" without. Writes
bench/results/conversion.json.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "bench")]

import numpy as np  # noqa: E402
import openslide  # noqa: E402
import tifffile  # noqa: E402
from processor import processor  # noqa: E402

from slideunet.geometry.blocks import LEVELS, BlockGrid, digest  # noqa: E402
from slideunet.geometry.pyramid import halved_image  # noqa: E402
from slideunet.readers.tiff.decoding import layout_of  # noqa: E402
from slideunet.readers.working_resolution import open_at  # noqa: E402
from slideunet.slides.convert import ConversionPlan, Slide, convert  # noqa: E402
from slideunet.slides.statistics import survey_block  # noqa: E402
from slideunet.stores import omezarr  # noqa: E402


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the processor time, user and system, that an action takes in all threads."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    action()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def decode_all(path: Path) -> None:
    """Decode every tile of level 0 of a TIFF, and drop it."""
    with tifffile.TiffFile(path) as tif, path.open("rb") as file:
        layout = layout_of(tif.series[0], 0)
        for plane in layout.planes:
            for number, (offset, size) in enumerate(zip(plane.offsets, plane.sizes, strict=True)):
                file.seek(offset)
                layout.decode(file.read(size), number, **plane.options)


def render_all(path: Path, side: int = 1024) -> None:
    """Render level 0 by OpenSlide, in squares."""
    with openslide.OpenSlide(path) as slide:
        width, height = slide.dimensions
        for y in range(0, height, side):
            for x in range(0, width, side):
                slide.read_region((x, y), 0, (min(side, width - x), min(side, height - y)))


def whole(path: Path, mpp: float | None, keep: bool) -> None:
    """Convert a slide in one thread."""
    with tempfile.TemporaryDirectory() as folder:
        plan = ConversionPlan(mpp=mpp, keep_pixels=keep)
        convert(Slide("S1", path, None, None), plan, Path(folder) / "S1.json")


def read_blocks(path: Path, mpp: float | None) -> list[np.ndarray]:
    """Read all blocks as a conversion does."""
    pixels = open_at(path, own_mpp=None, working_mpp=mpp)[0].pixels
    return [
        np.ascontiguousarray(pixels[:, *region].compute(scheduler="sync"))
        for region in BlockGrid(pixels.shape)
    ]


def halve(block: np.ndarray) -> None:
    """Make the levels of a block."""
    for _ in range(LEVELS):
        block = halved_image(block)


def write(blocks: list[np.ndarray], shape: tuple[int, ...]) -> None:
    """Write all blocks with their levels, which are halved meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "S1.zarr"
        omezarr.create_image(path, shape, blocks[0].dtype, channels=["c"] * shape[0], mpp=None)
        levels = omezarr.open_levels(path, "r+")
        for region, block in zip(BlockGrid(shape), blocks, strict=True):
            omezarr.write_block(levels, region, block)


def measure(path: Path, rounds: int, mpp: float | None) -> dict[str, float]:
    """Return CPU seconds per 10^6 pixels of the file by what was done."""
    with tifffile.TiffFile(path) as tif:
        area = tif.series[0].keyframe.imagewidth * tif.series[0].keyframe.imagelength / 1e6
    shape = open_at(path, own_mpp=None, working_mpp=mpp)[0].pixels.shape
    blocks = read_blocks(path, mpp)

    def each(part: Callable[[np.ndarray], object]) -> None:
        for block in blocks:
            part(block)

    actions: dict[str, Callable[[], object]] = {
        "codec": partial(decode_all, path),
        "imread": lambda: tifffile.imread(path, series=0, level=0, maxworkers=1),
        "read": partial(read_blocks, path, mpp),
        "digest": partial(each, digest),
        "statistics": partial(each, survey_block),
        "halving": partial(each, halve),
        "write and halving": partial(write, blocks, shape),
        "whole": partial(whole, path, mpp, True),
        "direct": partial(whole, path, mpp, False),
    }
    if openslide.OpenSlide.detect_format(path):
        actions["OpenSlide"] = partial(render_all, path)
    spent = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            spent[name].append(cpu_seconds(action))
    return {name: round(min(times) / area, 5) for name, times in spent.items()} | {"Mpx": round(area, 2)}


def main(slides: list[Path], rounds: int, mpp: float | None) -> None:
    """Measure every slide; print and keep the numbers."""
    found: dict[str, object] = {"processor": processor(), "mpp": mpp}
    for path in slides:
        found[path.name] = numbers = measure(path, rounds, mpp)
        print(path.name, f"{numbers['Mpx']} Mpx")
        for name, value in numbers.items():
            if name != "Mpx":
                print(f"  {name:20} {1e3 * value:7.2f} ms/Mpx  {value / numbers['codec']:6.2f} of the codec")
    results = ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    (results / "conversion.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slides", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mpp", type=float, default=None)
    main(**vars(parser.parse_args()))
