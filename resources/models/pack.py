"""Write one file with the images and labels on which the shipped models are trained and validated.

    python resources/models/pack.py DATA --out packed.zip [--sources dsb2018 tnbc] [--most-mb 45]

DATA has a folder for each source with images/, masks/ and metadata.csv. Test images are not in the file.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow/lib"), str(ROOT / "resources/benchmarks/dsb2018")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from brush_dots import without_dots  # noqa: E402
from PIL import Image  # noqa: E402

from slideunet.errors import InputError, as_command  # noqa: E402
from slideunet.inputs.split import split_groups  # noqa: E402
from slideunet.network.in_memory.archive import Entry, PackedImage, write_archive  # noqa: E402
from slideunet.slides.statistics import survey  # noqa: E402

MODELS = ROOT / "resources/models"
SEED = 0


@dataclass(frozen=True)
class Source:
    """Use of a data set.

    Attributes
    ----------
    kinds : mapping
        Modality in its table to the kind of model, "fluorescence" or "brightfield".
    quality : mapping
        Kind of model to the JPEG quality; None is lossless.
    val, test : float
        Shares of the images in the split.
    stratum : str
        Column of its table with the stratum.
    by_image : bool
        Whether every image is a group: for a source with fewer groups than splits, whose groups are then the
        strata.
    for_validation : bool
        Whether its labels are good enough for scoring, so that its images may be used for validation.
    """

    kinds: dict[str, str]
    quality: dict[str, int | None]
    val: float = 0.15
    test: float = 0.15
    stratum: str = "modality"
    by_image: bool = False
    for_validation: bool = True


FLUORESCENCE, BRIGHTFIELD = {"fluorescence": "fluorescence"}, {"H&E": "brightfield"}
SOURCES = {
    # Grey images with few levels: JPEG blocks would show after contrast stretching. The grey bright-field
    # images fit neither model.
    "dsb2018": Source(FLUORESCENCE | BRIGHTFIELD, {"fluorescence": None, "brightfield": 95}, stratum="stain"),
    "coelho2009": Source(FLUORESCENCE, {"fluorescence": 93}, stratum="group", by_image=True),
    "bsst265": Source(FLUORESCENCE, {"fluorescence": 95}),
    "tnbc": Source(BRIGHTFIELD, {"brightfield": 95}),
    # Instances derived from binary masks: for training, not for scoring.
    "nuinsseg": Source(
        BRIGHTFIELD, {"brightfield": 82}, val=0, test=0, stratum="group", for_validation=False
    ),
}


def read_table(folder: Path, source: Source) -> pd.DataFrame:
    """Return the images of a source to use, with their kind, without those of BBBC039.

    Raises
    ------
    InputError
        When there is no metadata.csv.
    """
    path = folder / "metadata.csv"
    if not path.is_file():
        raise InputError(f"{path} is missing. Name the folder that contains the folders of the sources.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if "also_in_bbbc039" in table:
        table = table[table["also_in_bbbc039"] == ""]
    table = table[table["modality"].isin(list(source.kinds))]
    return table.assign(kind=table["modality"].map(source.kinds)).sort_values("image_id", ignore_index=True)


def divide(table: pd.DataFrame, source: Source, known: dict[str, str]) -> pd.Series:
    """Return the split of every image of a source and a kind, by the library's split of groups.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `read_table`.
    known : dict
        Splits that are given, by name of the image.
    """
    if source.val == source.test == 0:
        return pd.Series("train", index=table.index)
    slides = pd.DataFrame(
        {
            "slide": table["image_id"],
            "group": table["image_id" if source.by_image else "group"],
            "stratum": table[source.stratum],
            "split": [known.get(name, "") for name in table["image_id"]],
            "labelled": True,
            "n_objects": table["n_nuclei"],
            "content": "",
        }
    )
    splits = split_groups(slides, val=source.val, test=source.test, seed=SEED)
    return table["image_id"].map(dict(zip(splits["slide"], splits["split"], strict=True)))


def shipped_splits(table: pd.DataFrame, model: Path) -> dict[str, str]:
    """Return the splits of BBBC038's images in the training of a shipped model.

    The first sheets named images by the first 16 digits of their ids. Images in neither train nor val are its
    test images.
    """
    slides = json.loads((model / "model.json").read_text(encoding="utf-8"))["training"]["slides"]
    splits = {name[:16]: split for split in ("train", "val") for name in slides[split]}
    return {name: splits.get(name[:16], "test") for name in table["image_id"]}


def read_image(folder: Path, name: str) -> np.ndarray:
    """Return pixels (c, y, x) of uint8: one channel or red, green and blue."""
    (path,) = folder.glob(f"images/{name}.*")
    pixels = np.asarray(Image.open(path))
    return pixels[None] if pixels.ndim == 2 else pixels[..., :3].transpose(2, 0, 1)


def pack(
    data: Path, names: Sequence[str], wanted: Sequence[str] = ("train", "val")
) -> Iterator[tuple[PackedImage, int | None]]:
    """Yield the images of some sources in the wanted splits, with their JPEG quality."""
    for name in names:
        source = SOURCES[name]
        table = read_table(data / name, source)
        for kind, rows in table.groupby("kind"):
            known = shipped_splits(rows, MODELS / f"nuclei-{kind}") if name == "dsb2018" else {}
            for row, split in zip(rows.itertuples(), divide(rows, source, known), strict=True):
                if split in wanted:
                    yield _packed(data, name, source, row, split), source.quality[str(kind)]


def _packed(data: Path, name: str, source: Source, row: tuple, split: str) -> PackedImage:
    image = read_image(data / name, row.image_id)
    labels = np.asarray(Image.open(data / name / f"masks/{row.image_id}.png")).astype(np.uint16)
    # As in the training of the shipped model: brush dots are not outlines and are ignored.
    if name == "dsb2018" and split == "train":
        labels = without_dots(labels)
    entry = Entry(
        name=row.image_id,
        source=name,
        group=row.group,
        stratum=getattr(row, source.stratum),
        kind=row.kind,
        split=split,
        for_validation=source.for_validation,
        licence=row.licence,
        content=survey(image)[1],
    )
    return PackedImage(entry, image, labels)


def main() -> None:
    """Read the command line, write the file and print its content."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with one folder for each source")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--most-mb", type=float, default=45, help="fail above so many megabytes")
    options = parser.parse_args()
    counts: dict[tuple[str, str, str], int] = {}

    def counted() -> Iterator[tuple[PackedImage, int | None]]:
        for packed, quality in pack(options.data, options.sources):
            key = (packed.entry.kind, packed.entry.source, packed.entry.split)
            counts[key] = counts.get(key, 0) + 1
            yield packed, quality

    with as_command():
        write_archive(options.out, counted())
        size = options.out.stat().st_size / 1e6
        print(*(f"{' '.join(key)}: {count} images" for key, count in sorted(counts.items())), sep="\n")
        print(f"{options.out}: {size:.1f} MB")
        if size > options.most_mb:
            raise InputError(
                f"{options.out} has {size:.1f} MB, more than {options.most_mb}. Name fewer sources."
            )


if __name__ == "__main__":
    main()
