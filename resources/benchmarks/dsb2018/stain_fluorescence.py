"""Stain training images of fluorescence as haematoxylin and eosin would, and add them to a sheet of tissue.

    python resources/benchmarks/dsb2018/stain_fluorescence.py FLUORESCENCE/slides.tsv \
        --tissue TISSUE/slides.tsv --out DIR/slides.tsv

Light is absorbed by haematoxylin where the nuclei shone (Giacomelli et al. 2016,
doi:10.1371/journal.pone.0159337), and by drawn eosin or DAB: nuclei of many laboratories on ground of many
colours, with the masks that they have. Only training images are stained; the other rows stay as they are.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage as ndi
from skimage.color import rgb_from_hed
from skimage.io import imread, imsave

LEAST_NUCLEI = 15
IGNORE_LABEL = 65535  # In the masks of make_sheet.py --undotted.


def stain(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image of red, green and blue (y, x, 3) uint8 of nuclei that shine in another.

    Parameters
    ----------
    image : ndarray (y, x)
        Bright nuclei on dark ground.
    labels : ndarray (y, x) of integers
        Its nuclei, 0 is background: each takes up the stain as it likes.
    rng : Generator
        Draws how much there is of each stain, its texture and hue.
    """
    nuclear, ground = _haematoxylin(image, labels, rng), _ground(labels, rng)
    nuclear += (rng.uniform(0, 0.15) * _texture(image.shape, rng, 5, 15)).clip(0)  # bluish cytoplasm
    counterstain = rgb_from_hed[rng.choice([1, 2], p=[0.8, 0.2])]  # eosin, or DAB
    stains = np.stack([rgb_from_hed[0], counterstain]) + rng.normal(0, 0.06, (2, 3))
    stains[1, 2] += rng.uniform(0, 0.5)  # eosin is magenta to salmon
    light = rng.uniform(0.85, 1) * np.exp(-np.stack([nuclear, ground], axis=-1) @ stains.clip(0.02))
    blurred = ndi.gaussian_filter(light, (*[rng.uniform(0, 1)] * 2, 0))
    return (255 * (blurred + rng.normal(0, rng.uniform(0, 0.02), light.shape)).clip(0, 1)).astype(np.uint8)


def _haematoxylin(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how much of it is where (y, x), in units of optical density."""
    low, high = np.percentile(image, (1, 99.8))
    shining = np.clip((image - low) / max(high - low, 1), 0, 1) ** rng.uniform(0.4, 0.9)
    taken = rng.uniform(0.6, 1.3, int(labels.max()) + 1)
    pale = rng.choice([0, rng.uniform(0, 0.7)])  # in the middle, as vesicular nuclei are
    depth = np.minimum(ndi.distance_transform_edt(labels > 0) / rng.uniform(3, 8), 1)
    chromatin = (1 + rng.uniform(0, 0.35) * _texture(image.shape, rng, 0.8, 2)).clip(0.2, 2)
    return 2.2 ** rng.uniform(-0.6, 1) * shining * taken[labels] * (1 - pale * depth) * chromatin


def _ground(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how much of the counterstain is where (y, x): texture, maybe with holes, less in nuclei."""
    amount = 15 ** rng.uniform(-0.85, 0.15)
    texture = amount * (1 + rng.uniform(0.1, 0.6) * _texture(labels.shape, rng, 1, 12))
    tissue = rng.random() < 0.5 or _texture(labels.shape, rng, 8, 20) < rng.uniform(0.3, 1.5)
    covered = np.where(labels > 0, rng.uniform(0.3, 1), tissue)
    return ndi.gaussian_filter(covered * texture.clip(0), 1)


def _texture(shape: tuple[int, ...], rng: np.random.Generator, least: float, most: float) -> np.ndarray:
    """Draw noise of standard deviation 1, smoothed along each axis by a width between two, in px."""
    noise = ndi.gaussian_filter(rng.standard_normal(shape), rng.uniform(least, most, 2), mode="reflect")
    return noise / noise.std()


def stained_rows(sheet: pd.DataFrame, count: int, folder: Path, seed: int = 0) -> pd.DataFrame:
    """Stain so many of a sheet's training images, chosen at random; return their rows, with the same masks.

    The images are written into `folder`, the same at every call with the same seed.
    """
    enough = sheet[(sheet["split"] == "train") & (sheet["n_nuclei"].astype(int) >= LEAST_NUCLEI)]
    chosen = enough.sort_values("slide").sample(min(count, len(enough)), random_state=0).sort_values("slide")
    images = [folder.absolute() / f"{slide}.png" for slide in chosen["slide"]]
    folder.mkdir(parents=True, exist_ok=True)
    pairs = zip(chosen["image"], chosen["labels"], strict=True)
    for number, (path, (image, labels)) in enumerate(zip(images, pairs, strict=True)):
        rng = np.random.default_rng((seed, number) if seed else number)
        stained = stain(imread(image, as_gray=True), _nuclei(imread(labels)), rng)
        imsave(path, stained, check_contrast=False)
    changed = {"slide": "stained-" + chosen["slide"], "image": [str(path) for path in images]}
    return chosen.assign(**changed, stratum="stained fluorescence", modality="stained fluorescence")


def _nuclei(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == IGNORE_LABEL, 0, labels)


def main() -> None:
    """Read the command line; write the images and the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("fluorescence", type=Path, help="sheet of make_sheet.py --split ... --undotted ...")
    parser.add_argument("--tissue", type=Path, required=True, help="sheet of tissue, with its split")
    parser.add_argument("--count", type=int, default=130, help="images to stain, at most")
    parser.add_argument("--seed", type=int, default=0, help="other stains for another")
    parser.add_argument("--out", type=Path, required=True, help="sheet to write, beside the folder stained")
    options = parser.parse_args()
    shining, tissue = (
        pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        for path in (options.fluorescence, options.tissue)
    )
    added = stained_rows(shining, options.count, options.out.parent / "stained", options.seed)
    pd.concat([tissue, added]).to_csv(options.out, sep="\t", index=False)
    print(f"{options.out}: {len(tissue)} images of tissue, {len(added)} stained ones")


if __name__ == "__main__":
    main()
