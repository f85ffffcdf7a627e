"""Cut the demo's images out of public data sets; what it wrote is in this folder.

    python resources/demo/crop_images.py DATA

DATA holds dsb2018/ and tnbc/, each with images/, masks/ and metadata.csv. README.md here names their sources.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from skimage.measure import label

SIDE = 256  # px
HERE = Path(__file__).parent
# No patient whom a bundled model learns from: the first two are validation, the others test in the split of
# resources/models/pack.py. With each the side in the demo, and how many of the images.
PATIENTS = {
    "patient_01": ("train", 6),
    "patient_10": ("val", 3),
    "patient_02": ("test", 3),
    "patient_09": ("test", 4),
}


def densest_crop(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the window of SIDE x SIDE px on a grid of 32 px that shows most nuclei."""
    corners = [
        (y, x) for y in range(0, mask.shape[0] - SIDE + 1, 32) for x in range(0, mask.shape[1] - SIDE + 1, 32)
    ]
    y, x = max(corners, key=lambda at: np.unique(mask[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE]).size)
    return slice(y, y + SIDE), slice(x, x + SIDE)


def write_crop(data: Path, image_id: str, name: str, folder: Path) -> int:
    """Write a crop of an image and of its nuclei, and return how many nuclei it shows."""
    image = np.asarray(Image.open(data / "images" / f"{image_id}.png"))
    mask = np.asarray(Image.open(data / "masks" / f"{image_id}.png"))
    window = densest_crop(mask)
    # Ids anew: a crop may leave two parts of one nucleus, which are then two.
    nuclei = label(mask[window], background=0, connectivity=1).astype(np.uint16)
    for kind, pixels in (("images", image[window]), ("labels", nuclei)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / f"{name}.png", optimize=True)
    return int(nuclei.max())


def fluorescence(data: Path, count: int) -> pd.DataFrame:
    """Choose images of U2OS cells, one a well, spread over the order of their nuclei counts."""
    table = pd.read_csv(data / "metadata.csv", dtype=str).dropna(subset="also_in_bbbc039")
    table["well"] = table.also_in_bbbc039.str.extract(r"_([A-P]\d\d)_")
    table["nuclei"] = table.n_nuclei.astype(int)
    table = table[table.nuclei >= 10].sort_values(["nuclei", "image_id"]).drop_duplicates("well")
    chosen = table.iloc[np.linspace(0, len(table) - 1, count).round().astype(int)]
    return pd.DataFrame({"image_id": chosen.image_id, "group": chosen.well, "slide": "well-" + chosen.well})


def histology(data: Path) -> pd.DataFrame:
    """Choose the first images of some patients."""
    table = pd.read_csv(data / "metadata.csv", dtype=str).sort_values("image_id")
    chosen = pd.concat([table[table.group == name].head(count) for name, (_, count) in PATIENTS.items()])
    number = chosen.groupby("group").cumcount().add(1).astype(str)
    split = chosen.group.map({name: side for name, (side, _) in PATIENTS.items()})
    return pd.DataFrame(
        {
            "image_id": chosen.image_id,
            "group": chosen.group,
            "slide": chosen.group + "-" + number,
            "split": split,
        }
    )


def write_demo(rows: pd.DataFrame, source: Path, name: str, sheet: str) -> None:
    """Write images, labels and sample sheet of a demo."""
    for row in rows.itertuples():
        write_crop(source, row.image_id, row.slide, HERE / name)
    files = {kind: f"{name}/{kind}s/" + rows.slide + ".png" for kind in ("image", "label")}
    rows = rows.assign(image=files["image"], labels=files["label"]).sort_values("slide")
    columns = ["slide", "image", "labels", "group", *rows.columns.intersection(["split"]), "image_id"]
    rows[columns].to_csv(HERE / sheet, sep="\t", index=False)


def main(data: Path) -> None:
    """Write both demos."""
    write_demo(fluorescence(data / "dsb2018", 24), data / "dsb2018", "fluorescence", "slides.tsv")
    write_demo(histology(data / "tnbc"), data / "tnbc", "histology", "histology.tsv")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
