"""Files of the shown stores for the browser: ranges of bytes, a token in the address, this machine only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler

# Host names in requests that are not of this machine, as when a page elsewhere has its name point here.
_OTHER_HOSTS = r"(?!(?:127\.\d+\.\d+\.\d+|localhost|\[?::1\]?)$).*$"
# The page may only speak to the server that it came from.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Asked for only where it must be: level/c/0/1/2, level/0/1/2 of zarr v2, metadata of groups and arrays.
_OF_EVERY_STORE = re.compile(r"(?:^|/)\d+/(?:c/)?\d+(?:/\d+)*$|(?:^|/)zarr\.json$|^(?:labels/\w+/)?\.zattrs$")


@dataclass(frozen=True)
class Routes:
    """What a server answers for a slide.

    Attributes
    ----------
    folders : mapping
        What `/files/TOKEN/NAME/...` gives files of, by name.
    page : callable
        Returns a file of the page and its type; ValueError without such a file.
    properties : callable
        Returns the document at `/files/TOKEN/properties/info`; None without it.
    row : callable
        Returns the document at `/files/TOKEN/row/CELL`; None without it.
    generation : callable
        Returns the name of the state that the server has.
    report : callable
        Gets a message when a chunk is missing.
    """

    folders: Mapping[str, Path]
    page: Callable[[str], tuple[bytes, str]]
    properties: Callable[[], dict[str, Any] | None]
    row: Callable[[int], dict[str, Any] | None]
    generation: Callable[[], str]
    report: Callable[[str], None]


def add_routes(app: Application, token: str, routes: Routes) -> None:
    """Let a server answer for a slide before it answers for itself.

    Parameters
    ----------
    app : tornado.web.Application
    token : str
        Part of every address; who does not know it gets 404.
    routes : Routes
    """
    own = re.escape(token)
    files = {"folders": routes.folders, "report": routes.report}
    app.add_handlers(_OTHER_HOSTS, [(".*", OtherHost)])
    app.add_handlers(
        ".*",
        [
            (rf"/v/{own}/([\w.-]*)", Client, {"content": routes.page}),
            (rf"/state/{own}", OwnView, {"generation": routes.generation}),
            (rf"/files/{own}/properties/info", Json, {"make": routes.properties}),
            (rf"/files/{own}/row/([1-9]\d{{0,9}})", Json, {"make": lambda cell: routes.row(int(cell))}),
            (rf"/files/{own}/([a-z]+)/(.*)", StoreFiles, files),
        ],
    )


class OtherHost(RequestHandler):
    """Refuse whatever is asked of another host name."""

    def prepare(self) -> None:
        """Answer 403."""
        raise HTTPError(403, reason="only this machine is served")


class StoreFiles(StaticFileHandler):
    """Give files of some folders, whole or in ranges, in pieces of 64 kB.

    A chunk that is missing is damage, since every chunk of a store is written. A plain 404 would be shown as
    black, so the answer is 410, and `report` gets a message; so it does for the metadata of a layer.
    """

    def initialize(self, folders: Mapping[str, Path], report: Callable[[str], None]) -> None:  # type: ignore[override]
        """Take the folders by name, and what a message is given to."""
        super().initialize(path="/")
        self.folders, self.report = folders, report

    async def get(self, store: str, path: str, include_body: bool = True) -> None:  # type: ignore[override]
        """Answer with the file `path` of the folder named `store`."""
        if store not in self.folders:
            raise HTTPError(404)
        self.root = str(self.folders[store].resolve())
        await super().get(path, include_body)

    async def head(self, store: str, path: str) -> None:  # type: ignore[override]
        """Answer as `get`, without the content."""
        await self.get(store, path, include_body=False)

    def get_absolute_path(self, root: str, path: str) -> str:  # type: ignore[override]
        """Return where a file really is: links are followed before anything is decided."""
        try:
            return str(Path(root, path).resolve())
        except (OSError, ValueError, RuntimeError) as error:  # A loop of links, a zero byte.
            raise HTTPError(404) from error

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """Refuse what is not in the folder, and tell of a missing part."""
        path = Path(absolute_path)
        if not path.is_relative_to(root):
            raise HTTPError(403, reason="not a file of the slide")
        if path.is_file():
            return absolute_path
        if _OF_EVERY_STORE.search(path.relative_to(root).as_posix()):
            self.report(
                f"Damaged: {path} is missing, so a layer is not shown or not whole. Run the workflow again."
            )
            raise HTTPError(410, reason="a part of a store is missing")
        raise HTTPError(404)

    def compute_etag(self) -> str | None:
        """Return none: it would need the content of a whole shard for every range of it."""
        return None

    def set_extra_headers(self, path: str) -> None:
        """Let a browser ask again, since the next run may have other pixels."""
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


class Client(RequestHandler):
    """Give the pages of the viewer, with a policy that keeps them from speaking to anyone else."""

    def initialize(self, content: Callable[[str], tuple[bytes, str]]) -> None:  # type: ignore[override]
        """Take what returns a file of the viewer and its type; it raises ValueError without such a file."""
        self.content = content

    def get(self, name: str) -> None:
        """Answer with the file `name`."""
        try:
            data, kind = self.content(name)
        except ValueError as error:
            raise HTTPError(404) from error
        self.set_header("Content-Type", kind)
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(data)


class OwnView(RequestHandler):
    """Take note of nothing: what a window shows is its own.

    The package would give each change to all other windows, which make all layers anew for it.
    """

    def initialize(self, generation: Callable[[], str]) -> None:  # type: ignore[override]
        """Take what returns the name of the state that the server has."""
        self.generation = generation

    def post(self) -> None:
        """Answer that it was taken."""
        self.finish({"g": self.generation()})


class Json(RequestHandler):
    """Give one JSON document."""

    def initialize(self, make: Callable[..., dict[str, Any] | None]) -> None:  # type: ignore[override]
        """Take what makes the document of the parts of an address, at every request; None without one."""
        self.make = make

    def get(self, *parts: str) -> None:
        """Answer with it."""
        document = self.make(*parts)
        if document is None:
            raise HTTPError(404)
        self.set_header("Cache-Control", "no-cache")
        self.finish(document)
