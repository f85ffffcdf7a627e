"""Write a sample sheet for a folder of images and an optional folder of labels."""

import argparse
import sys
from pathlib import Path

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet.errors import InputError, as_command
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly
from slideunet.inputs.make_sheet import pair_folders, relative_to
from slideunet.inputs.sheet import read_sheet
from slideunet.stores.files import write_atomically

SCHEMA = Path(__file__).resolve().parents[1] / "schemas" / "slides.schema.yaml"


def main(
    *, images: Path | None, labels: Path | None, out: Path, group_regex: str | None = None, keep: bool = False
) -> None:
    """Pair images with labels and write the sheet; an existing file is not overwritten.

    With `keep` it is used as it is, if it has images of the folder.
    """
    if out.exists():
        if not keep:
            raise InputError(f"{out} exists and may have been edited. Choose another name or move it.")
        if images is not None:
            _compare(out, images)
        return
    if images is None:
        raise InputError("No folder of images was given. Name one: IMAGES=/path/to/folder.")
    sheet, messages = pair_folders(images, labels, group_regex)
    out.parent.mkdir(parents=True, exist_ok=True)
    filled = [column for column in sheet.columns if column in ("slide", "image") or sheet[column].any()]
    write_atomically(out, relative_to(sheet, out.parent)[filled].to_csv(sep="\t", index=False))
    for message in messages:
        print(message)
    print(f"{out}: {len(sheet)} slides, {int((sheet['labels'] != '').sum())} with labels.")
    if labels is not None:
        print(f"Set `slides: {out}` in your configuration.")


def _compare(sheet: Path, images: Path) -> None:
    """Print what a sheet lacks of a folder.

    Raises
    ------
    InputError
        If that is everything: the sheet was made for another folder.
    """
    known = {Path(path).resolve() for path in read_sheet(sheet, read_yaml_strictly(SCHEMA)).slides["image"]}
    found = [Path(path) for path in pair_folders(images, None)[0]["image"]]
    missing = [path.name for path in found if path.resolve() not in known]
    if len(missing) == len(found):
        raise InputError(
            f"{sheet} exists and has no image of {images}. Choose another OUT, or delete the sheet, which is "
            "then written again."
        )
    if missing:
        print(
            f"{sheet} exists and is used as it is. It lacks {len(missing)} of {len(found)} images of "
            f"{images}, such as {missing[0]}. Delete it, and it is written again."
        )


def _folder(text: str) -> Path | None:
    return Path(text) if text else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=_folder, required=True, help="folder of images")
    parser.add_argument(
        "--labels", type=Path, help="folder of label images or GeoJSON; may be the same folder"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("slides.tsv"), help="the sheet (default: %(default)s)"
    )
    parser.add_argument(
        "--group-regex", help="regular expression for the group in a file name, e.g. '^(donor[0-9]+)_'"
    )
    parser.add_argument("--keep", action="store_true", help="use a sheet that exists")
    return parser.parse_args()


if __name__ == "__main__":
    with as_command():
        main(**vars(_arguments()))
