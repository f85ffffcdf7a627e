"""A viewer that runs: Neuroglancer's server with our files, and what happens when something is clicked.

`neuroglancer` is imported here only, when a viewer is started: it is an optional package.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from slideunet.errors import InputError, MachineError, SlideunetError
from slideunet.viewing.cell_table import read_row, segment_properties
from slideunet.viewing.file_server import Routes, add_routes
from slideunet.viewing.state import Place, chosen_cell, viewer_state
from slideunet.viewing.viewed_slide import ViewedSlide

_HELP = "Click a cell for its row of the table. N: next error, Shift+N: the one before. H: all keys."
_OWN = {"page.css": "text/css", "page.js": "text/javascript"}
_ADDED = (
    b'<link rel="icon" href="data:,"><link rel="stylesheet" href="page.css">'
    b'<script defer src="page.js"></script></head>'
)
_LARGEST_REQUEST = (
    2**20
)  # Bytes that the server keeps of a request, whoever sends it; the package takes 1 GB.


@contextmanager
def viewing(
    slide: ViewedSlide, host: str = "127.0.0.1", port: int = 0, place: Place | None = None
) -> Iterator[str]:
    """Serve a slide until the block ends, and yield the address for the browser.

    Parameters
    ----------
    slide : ViewedSlide
    host : str
        Address to listen on, of this machine only.
    port : int
        0 for any that is free.
    place : (y, x), optional
        Of the first picture, in pixels of the original; the whole slide when not given.

    Raises
    ------
    InputError
        When others could reach the host.
    MachineError
        When `neuroglancer` is not installed or the port is taken.
    """
    check_loopback(host)
    neuroglancer = _neuroglancer()
    neuroglancer.set_server_bind_address(host, port)
    try:
        viewer = neuroglancer.Viewer(allow_credentials=False)
    except OSError as error:
        raise MachineError(
            f"Port {port} of {host} cannot be used ({error.strerror or error}). "
            "Leave PORT out for one that is free, or name another."
        ) from error
    try:
        viewer.set_state(viewer_state(slide, _serve(neuroglancer, viewer, slide), place))
        _bind(viewer)
        yield viewer.get_viewer_url()
    finally:
        neuroglancer.stop()


def check_loopback(host: str) -> None:
    """Refuse an address that another machine could reach.

    Raises
    ------
    InputError
        Naming it.
    """
    try:
        own = ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        own = False
    if not own:
        raise InputError(
            f"The viewer does not listen on {host}, only on 127.0.0.1: other machines could read the slide. "
            "Reach it from there by a tunnel: ssh -L PORT:127.0.0.1:PORT this-machine."
        )


def _neuroglancer() -> Any:  # noqa: ANN401 (a module without types)
    try:
        import neuroglancer
    except ImportError as error:
        raise MachineError(
            f"The viewer needs a package that is not installed ({error}). "
            "`make view` installs it; by hand: pip install -r envs/requirements-view.txt"
        ) from error
    return neuroglancer


def _serve(neuroglancer: Any, viewer: Any, slide: ViewedSlide) -> str:  # noqa: ANN401
    """Add our files to the server and return the address below which they are."""
    server = neuroglancer.server.global_server
    server.http_server.max_buffer_size = _LARGEST_REQUEST
    report = partial(_say, viewer, "damage")
    routes = Routes(
        slide.stores,
        page=partial(_page, neuroglancer.server.static.get_default_static_content_source()),
        properties=partial(_properties, slide, report),
        row=partial(_row, slide, report),
        generation=lambda: viewer.shared_state.state_generation,
        report=report,
    )
    add_routes(server.app, viewer.token, routes)
    return f"{neuroglancer.server.get_server_url()}/files/{viewer.token}"


def _page(package: Any, name: str) -> tuple[bytes, str]:  # noqa: ANN401
    """Return a file of the viewer's page and its type: the package's, with our style and script added."""
    if name in _OWN:
        return Path(__file__).with_name(name).read_bytes(), _OWN[name]
    data, kind = package.get(name, "")
    return (data.replace(b"</head>", _ADDED, 1) if name in ("", "index.html") else data), kind


def _properties(slide: ViewedSlide, report: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the numbers of all cells; None without a table that can be read."""
    if slide.table is None:
        return None
    try:
        return segment_properties(slide.table)
    except SlideunetError as error:
        report(str(error))
        return None


def _row(slide: ViewedSlide, report: Callable[[str], None], cell: int) -> dict[str, Any] | None:
    """Return the row of a cell and its box; None without it, and then a message is on the page."""
    if slide.table is None:
        report("This slide has no table of cells yet. Start the viewer again when its cells are measured.")
        return None
    try:
        row = read_row(slide.table, cell)
        if row is not None:
            return chosen_cell(slide.facts, row)
        report(f"Damaged: {slide.table} has no row for cell {cell}. Run the workflow again.")
    except SlideunetError as error:
        report(str(error))
    except KeyError as error:
        report(f"Damaged: {slide.table} has no column {error}. Delete it and run the workflow again.")
    return None


def _bind(viewer: Any) -> None:  # noqa: ANN401
    """Name what page.js does at a click and at a key, and say so at the bottom of the page."""
    with viewer.config_state.txn() as config:
        config.input_event_bindings.data_view["click0"] = "show-cell"
        config.input_event_bindings.viewer["keyn"] = "next-error"
        config.input_event_bindings.viewer["shift+keyn"] = "previous-error"
        config.status_messages["help"] = _HELP


def _say(viewer: Any, key: str, text: str) -> None:  # noqa: ANN401
    with viewer.config_state.txn() as config:
        config.status_messages[key] = text
