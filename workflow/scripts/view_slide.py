"""Show a slide of a run in the browser of this machine: deep zoom, cells, their rows, the errors."""

import argparse
import os
import re
import sys
import threading
import webbrowser
from pathlib import Path

# A command for users, run outside of the workflow: the package is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from slideunet.errors import InputError, as_command
from slideunet.viewing.session import viewing
from slideunet.viewing.state import Place
from slideunet.viewing.viewed_slide import find_slide


def main(*, run: Path, slide: str, host: str, port: int, place: Place | None, browser: bool) -> None:
    """Serve the slide until Ctrl-C.

    Parameters
    ----------
    run : Path
        The folder that the workflow ran in, or its `results`.
    slide : str
        Id in the sample sheet.
    host, port
        Where to listen, on this machine only; port 0 is any that is free.
    place : (y, x) or None
        In pixels of the original, as in the report; None for the whole slide.
    browser : bool
        Whether to open a browser.

    Raises
    ------
    SlideunetError
        If there is no such run or slide, a store is damaged, the port is taken, or a package is missing.
    """
    with viewing(find_slide(run, slide), host, port, place) as address:
        print(
            f"{slide} is at {address}\nAnyone with this address can see it on this machine. Ctrl-C ends it."
        )
        if browser and not _opened(address):
            print(
                "No browser was found. Open the address; from another machine first with a tunnel: "
                "ssh -L PORT:127.0.0.1:PORT this-machine, with the PORT of the address."
            )
        sys.stdout.flush()
        threading.Event().wait()


def _opened(address: str) -> bool:
    # Without a screen, Python would start a browser of the terminal, which cannot draw and takes the keys.
    screen = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return screen and webbrowser.open(address)


def _port(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal() or int(text) > 65535:
        raise InputError(f"The port {text!r} is not a number from 1 to 65535. Leave PORT out for a free one.")
    return int(text)


def _place(text: str) -> Place | None:
    if not text:
        return None
    numbers = re.fullmatch(r"(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)", text.strip())
    if numbers is None:
        raise InputError(f"The place {text!r} is not y,x in pixels of the original, e.g. AT=1200,3400.")
    return float(numbers[1]), float(numbers[2])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder that the workflow ran in")
    parser.add_argument("--slide", required=True, help="id of the slide")
    parser.add_argument("--host", default="127.0.0.1", help="address of this machine (default: %(default)s)")
    parser.add_argument("--port", default="", help="a free one when left out")
    parser.add_argument(
        "--at", default="", dest="place", help="y,x in pixels of the original, as in the report"
    )
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        with as_command():
            options = vars(_arguments())
            main(**options | {"port": _port(options["port"]), "place": _place(options["place"])})
    except KeyboardInterrupt:
        sys.exit(0)
