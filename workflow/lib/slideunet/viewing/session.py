"""A viewer that runs: Neuroglancer's server with our files, and what happens when something is clicked.

`neuroglancer` is imported here only, when a viewer is started: it is an optional package.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from slideunet.errors import InputError, MachineError, SlideunetError
from slideunet.viewing import clicks
from slideunet.viewing.cell_table import read_row, segment_properties
from slideunet.viewing.file_server import add_routes
from slideunet.viewing.state import chosen_cell, viewer_state
from slideunet.viewing.viewed_slide import ViewedSlide

_STEPS = {"keyn": ("next-error", 1), "shift+keyn": ("previous-error", -1)}
_HELP = "Click a cell for its row of the table. N: next error, Shift+N: the one before. H: all keys."


@contextmanager
def viewing(slide: ViewedSlide, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve a slide until the block ends, and yield the address for the browser.

    Parameters
    ----------
    slide : ViewedSlide
    host : str
        Address to listen on, of this machine only.
    port : int
        0 for any that is free.

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
        viewer.set_state(viewer_state(slide, _serve(neuroglancer, viewer, slide)))
        _answer_clicks(viewer, slide)
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
    package = neuroglancer.server.static.get_default_static_content_source()
    table = slide.table
    add_routes(
        neuroglancer.server.global_server.app,
        viewer.token,
        slide.stores,
        page=partial(_page, package),
        properties=lambda: (segment_properties(table) if table else None) or _NO_PROPERTIES,
        report=partial(_say, viewer, "damage"),
    )
    return f"{neuroglancer.server.get_server_url()}/files/{viewer.token}"


def _page(package: Any, name: str) -> tuple[bytes, str]:  # noqa: ANN401
    """Return a file of the viewer's page and its type: the package's, with our style added."""
    if name == "page.css":
        return Path(__file__).with_name("page.css").read_bytes(), "text/css"
    data, kind = package.get(name, "")
    return (data.replace(b"</head>", _STYLE, 1) if name in ("", "index.html") else data), kind


_STYLE = b'<link rel="icon" href="data:,"><link rel="stylesheet" href="page.css"></head>'
_NO_PROPERTIES = {"@type": "neuroglancer_segment_properties", "inline": {"ids": [], "properties": []}}


def _answer_clicks(viewer: Any, slide: ViewedSlide) -> None:  # noqa: ANN401
    """Show a row at a click on a cell, and move to the error that is chosen in the list or by a key."""
    viewer.actions.add("show-cell", lambda action: _show_cell(viewer, slide, action.to_json()))
    for key, (name, step) in _STEPS.items():
        viewer.actions.add(
            name, lambda _, step=step: _change(viewer, partial(clicks.to_next_error, step=step))
        )
        _bind(viewer, "viewer", key, name)
    _bind(viewer, "data_view", "click0", "show-cell")
    _say(viewer, "help", _HELP)
    follower = clicks.Follower()

    def follow() -> None:
        # Called while the state is locked, so what changes it waits for the server's next turn.
        if follower.chosen_anew(viewer.shared_state.raw_state):
            viewer.defer_callback(_change, viewer, clicks.to_chosen_error)

    viewer.shared_state.add_changed_callback(follow)


def _show_cell(viewer: Any, slide: ViewedSlide, action: dict[str, Any]) -> None:  # noqa: ANN401
    cell = clicks.cell_under_pointer(action)
    if cell is None or slide.table is None:
        return
    try:
        row = read_row(slide.table, cell)
    except SlideunetError as error:
        _say(viewer, "damage", str(error))
        return
    if row is None:
        _say(viewer, "damage", f"Damaged: {slide.table} has no row for cell {cell}. Run the workflow again.")
        return
    _change(viewer, partial(clicks.with_chosen_cell, layer=chosen_cell(slide.facts, row)))


def _change(viewer: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:  # noqa: ANN401
    state, generation = viewer.shared_state.raw_state_and_generation
    # What the user did meanwhile wins; the click can be made again.
    with suppress(_neuroglancer().trackable_state.ConcurrentModificationError):
        viewer.shared_state.set_state(change(state), existing_generation=generation)


def _bind(viewer: Any, where: str, key: str, action: str) -> None:  # noqa: ANN401
    with viewer.config_state.txn() as config:
        getattr(config.input_event_bindings, where)[key] = action


def _say(viewer: Any, key: str, text: str) -> None:  # noqa: ANN401
    with viewer.config_state.txn() as config:
        config.status_messages[key] = text
