"""Write a sample sheet for a folder of images and an optional folder of labels."""

import argparse
import sys
from pathlib import Path

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet.errors import InputError, as_command
from slideunet.inputs.make_sheet import pair_folders, relative_to
from slideunet.stores.files import write_atomically


def main(*, images: Path, labels: Path | None, out: Path, group_regex: str | None = None) -> None:
    """Pair images with labels and write the sheet; an existing file is not overwritten."""
    if out.exists():
        raise InputError(f"{out} exists and may have been edited. Choose another name or move it.")
    sheet, messages = pair_folders(images, labels, group_regex)
    out.parent.mkdir(parents=True, exist_ok=True)
    filled = [column for column in sheet.columns if column in ("slide", "image") or sheet[column].any()]
    write_atomically(out, relative_to(sheet, out.parent)[filled].to_csv(sep="\t", index=False))
    for message in messages:
        print(message)
    print(f"{out}: {len(sheet)} slides, {int((sheet['labels'] != '').sum())} with labels.")
    if labels is not None:
        print(f"Set `slides: {out}` in your configuration.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument(
        "--labels", type=Path, help="folder of label images or GeoJSON; may be the same folder"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("slides.tsv"), help="the sheet (default: %(default)s)"
    )
    parser.add_argument(
        "--group-regex", help="regular expression for the group in a file name, e.g. '^(donor[0-9]+)_'"
    )
    return parser.parse_args()


if __name__ == "__main__":
    with as_command():
        main(**vars(_arguments()))
