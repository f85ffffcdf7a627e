"""Describe a finished run as an RO-Crate, so that its folder can be deposited."""

import argparse
import sys
from pathlib import Path

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet.errors import as_command
from slideunet.provenance.crate import write_crate


def main(*, run: Path, licence: str) -> None:
    """Write `ro-crate-metadata.json` into `run` and print its path; see `write_crate`."""
    print(f"Wrote {write_crate(run, licence)}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="working directory of the run")
    parser.add_argument(
        "--licence", required=True, help="of the results: an SPDX identifier (CC-BY-4.0) or an address"
    )
    return parser.parse_args()


if __name__ == "__main__":
    with as_command():
        main(**vars(_arguments()))
