"""Draw a synthetic slide with exact labels, as TIFF files.

    python tests/synthetic/draw.py slide.ome.tif --labels slide_labels.tif --size 20000 30000

Memory does not grow with the slide.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "tests")]

from slideunet.errors import as_command  # noqa: E402
from synthetic.scene import Scene  # noqa: E402
from synthetic.write_files import write_slide  # noqa: E402


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=Path, help="OME-TIFF to write")
    parser.add_argument("--labels", type=Path, help="label TIFF to write; none by default")
    parser.add_argument("--look", choices=("fluorescence", "histology"), default="fluorescence")
    parser.add_argument("--size", type=int, nargs=2, metavar=("Y", "X"), default=(1024, 1024), help="px")
    parser.add_argument("--seed", type=int, default=0, help="of the layout")
    parser.add_argument("--donor-seed", type=int, default=0, help="of cells, stain and microscope")
    parser.add_argument("--density", type=float, default=1.0, help="of cells, relative to the donor's")
    parser.add_argument("--mpp", type=float, default=0.5, help="micrometres per pixel, written into the file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Draw one slide.

    Raises
    ------
    InputError
        For a size, seed, density or pixel size that cannot be drawn.
    """
    options = read_options(arguments)
    height, width = options.size
    scene = Scene(
        look=options.look,
        seed=options.seed,
        donor_seed=options.donor_seed,
        height=height,
        width=width,
        density=options.density,
        mpp=options.mpp,
    )
    write_slide(scene, options.image, options.labels)


if __name__ == "__main__":
    with as_command():
        main(sys.argv[1:])
