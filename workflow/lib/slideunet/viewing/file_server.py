"""Files of the shown stores for the browser: ranges of bytes, a token in the address, this machine only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
_CHUNK = re.compile(r"(?:^|/)\d+/(?:c/)?\d+(?:/\d+)*$")  # .../level/c/0/1/2, and .../level/0/1/2 of zarr v2


def add_routes(
    app: Application,
    token: str,
    folders: Mapping[str, Path],
    *,
    page: Callable[[str], tuple[bytes, str]],
    properties: Callable[[], dict[str, Any]],
    report: Callable[[str], None],
) -> None:
    """Let a server answer for a slide before it answers for itself.

    Parameters
    ----------
    app : tornado.web.Application
    token : str
        Part of every address; who does not know it gets 404.
    folders : mapping
        What `/files/TOKEN/NAME/...` gives files of, by name.
    page : callable
        Returns a file of the page and its type; ValueError without such a file.
    properties : callable
        Returns the document at `/files/TOKEN/properties/info`.
    report : callable
        Gets a message when a chunk is missing.
    """
    own = re.escape(token)
    app.add_handlers(_OTHER_HOSTS, [(".*", OtherHost)])
    app.add_handlers(
        ".*",
        [
            (rf"/v/{own}/([\w.-]*)", Client, {"content": page}),
            (rf"/files/{own}/properties/info", Json, {"make": properties}),
            (rf"/files/{own}/([a-z]+)/(.*)", StoreFiles, {"folders": folders, "report": report}),
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
    black, so the answer is 410, and `report` gets a message.
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
        """Refuse what is not in the folder, and tell of a missing chunk."""
        path = Path(absolute_path)
        if not path.is_relative_to(root):
            raise HTTPError(403, reason="not a file of the slide")
        if path.is_file():
            return absolute_path
        if _CHUNK.search(path.relative_to(root).as_posix()):
            self.report(f"Damaged: {path} is missing. It would be black. Run the workflow again.")
            raise HTTPError(410, reason="a chunk is missing")
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


class Json(RequestHandler):
    """Give one JSON document."""

    def initialize(self, make: Callable[[], dict[str, Any]]) -> None:  # type: ignore[override]
        """Take what makes the document, at every request."""
        self.make = make

    def get(self) -> None:
        """Answer with it."""
        self.finish(self.make())
