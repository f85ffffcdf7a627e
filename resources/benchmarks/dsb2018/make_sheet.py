"""Write the sample sheet of BBBC038v1 (2018 Data Science Bowl, stage 1) from its metadata table.

The images that are also in BBBC039 are left out, so that BBBC039 stays an external test set.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
from skimage.io import imread, imsave

sys.path.append(str(Path(__file__).parent))

from brush_dots import without_dots


def make_sheet(metadata: Path, modality: str | None) -> pd.DataFrame:
    """Return the sheet (slide, image, labels, group, stratum, modality, n_nuclei) with absolute paths.

    Parameters
    ----------
    metadata : Path
        `metadata.csv` with image_id, modality, group, also_in_bbbc039, n_nuclei and, if known, stain;
        `images/` and `masks/` with one `<image_id>.png` each lie beside it.
    modality : str or None
        Keep only this one, e.g. "fluorescence".
    """
    table = pd.read_csv(metadata, dtype=str, keep_default_na=False)
    table = table[table["also_in_bbbc039"] == ""]
    if modality is not None:
        table = table[table["modality"] == modality]
    folder = metadata.parent.absolute()
    kind = table["modality"] + " " + table["height"] + "x" + table["width"]
    return pd.DataFrame(
        {
            # The first 16 of 64 hexadecimal digits are unique in this set and readable in a report.
            "slide": table["image_id"].str[:16],
            "image": [f"{folder}/images/{image_id}.png" for image_id in table["image_id"]],
            "labels": [f"{folder}/masks/{image_id}.png" for image_id in table["image_id"]],
            "group": table["group"],
            "stratum": (kind + " " + table["stain"]).str.strip() if "stain" in table else kind,
            "modality": table["modality"],
            "n_nuclei": table["n_nuclei"],
        }
    )


def with_split(sheet: pd.DataFrame, split: Path) -> pd.DataFrame:
    """Return the sheet with the column `split` of an earlier run's `results/split.tsv`."""
    known = pd.read_csv(split, sep="\t", dtype=str, keep_default_na=False)
    return sheet.merge(known[["slide", "split"]], on="slide", validate="one_to_one")


def with_undotted_training(sheet: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the sheet with copies of the training masks in `folder`; other sides keep the truth as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = dict(sheet.loc[sheet["split"] == "train", ["slide", "labels"]].itertuples(index=False))
    for slide, path in paths.items():
        imsave(folder / f"{slide}.png", without_dots(imread(path)), check_contrast=False)
    copies = {slide: str(folder.absolute() / f"{slide}.png") for slide in paths}
    return sheet.assign(labels=sheet["slide"].map(copies).fillna(sheet["labels"]))


def with_fold(sheet: pd.DataFrame, fold: int, folds: int) -> pd.DataFrame:
    """Return the sheet with one of several test parts in the column `split`; the rest is divided by the run.

    The groups, largest first, are dealt out one by one to the fold with the fewest images of their stratum.
    """
    sizes = sheet.groupby(["stratum", "group"]).size().sort_values(ascending=False, kind="stable")
    filled = {stratum: [0] * folds for stratum in sheet["stratum"]}
    tests = set()
    for (stratum, group), size in sizes.items():
        chosen = filled[stratum].index(min(filled[stratum]))
        filled[stratum][chosen] += size
        if chosen == fold - 1:
            tests.add(group)
    return sheet.assign(split=["test" if group in tests else "" for group in sheet["group"]])


def main() -> None:
    """Read the command line and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metadata", type=Path, help="metadata.csv of a copy of BBBC038")
    parser.add_argument("--modality", help="only this one: fluorescence, H&E or brightfield")
    parser.add_argument("--split", type=Path, help="results/split.tsv of an earlier run, to divide alike")
    parser.add_argument(
        "--undotted",
        type=Path,
        help="folder for training masks without single dots of the brush; needs --split",
    )
    parser.add_argument("--fold", help="such as 1/4: the test part of a cross-validation")
    parser.add_argument("--out", type=Path, required=True, help="the sheet to write")
    options = parser.parse_args()
    sheet = make_sheet(options.metadata, options.modality)
    if not sheet["slide"].is_unique:
        raise SystemExit("two images share the first 16 digits of their id")
    if options.split is not None:
        sheet = with_split(sheet, options.split)
    if options.undotted is not None:
        if options.split is None:
            parser.error("--undotted needs --split: only the masks of training images are changed")
        sheet = with_undotted_training(sheet, options.undotted)
    if options.fold is not None:
        sheet = with_fold(sheet, *map(int, options.fold.split("/")))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.to_csv(options.out, sep="\t", index=False)
    print(f"{options.out}: {len(sheet)} images of {sheet['group'].nunique()} groups")


if __name__ == "__main__":
    main()
