import asyncio
import http.client
import threading

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from slideunet.viewing.file_server import Routes, add_routes

TOKEN = "0123456789abcdef"
SHARD = bytes(range(256)) * 1000


def page(name):
    if name not in ("", "main.js"):
        raise ValueError(name)
    return b"<html></html>", "text/html"


@pytest.fixture
def messages():
    return []


@pytest.fixture
def ask(tmp_path, messages):
    """Ask a server whose folder "image" is tmp_path/store: (status, headers, content) of a path as it is."""
    shard = tmp_path / "store" / "0" / "c" / "0" / "0" / "0"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(SHARD)
    (tmp_path / "store" / "zarr.json").write_text("{}")
    (tmp_path / "store-beside").mkdir()
    (tmp_path / "store-beside" / "secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "secret")
    app = Application()
    routes = Routes(
        {"image": tmp_path / "store"},
        page=page,
        properties=lambda: {"n": 1},
        row=lambda cell: {"cell": cell} if cell < 10 else None,
        generation=lambda: "g1",
        report=messages.append,
    )
    add_routes(app, TOKEN, routes)
    loop, [socket] = asyncio.new_event_loop(), bind_sockets(0, "127.0.0.1")
    port = socket.getsockname()[1]

    async def start():
        HTTPServer(app).add_sockets([socket])

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def get(path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    yield get
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


FILE = f"/files/{TOKEN}/image/0/c/0/0/0"


def test_a_file_is_given_whole_and_in_ranges(ask):
    status, headers, content = ask(FILE)
    assert (status, content) == (200, SHARD)
    assert headers["Accept-Ranges"] == "bytes"
    status, headers, content = ask(FILE, Range="bytes=1001-70000")
    assert (status, content) == (206, SHARD[1001:70001])
    assert headers["Content-Range"] == f"bytes 1001-70000/{len(SHARD)}"
    assert ask(FILE, Range="bytes=-8")[::2] == (206, SHARD[-8:])  # the index of a shard
    assert ask(FILE, Range=f"bytes={len(SHARD)}-")[0] == 416


def test_the_length_is_told_without_the_content(ask):
    status, headers, content = ask(FILE, "HEAD")
    assert (status, headers["Content-Length"], content) == (200, str(len(SHARD)), b"")


def test_rows_are_json(ask):
    status, headers, content = ask(f"/files/{TOKEN}/row/5")
    assert (status, content) == (200, b'{"cell": 5}')
    assert headers["Cache-Control"] == "no-cache"
    assert ask(f"/files/{TOKEN}/row/12")[0] == 404


@pytest.mark.parametrize("cell", ["0", "-1", "x", "1/2", "99999999999", "1e5", "%201"])
def test_what_is_no_cell_has_no_row(ask, cell):
    assert ask(f"/files/{TOKEN}/row/{cell}")[0] == 404


def test_what_a_window_shows_is_its_own(ask):
    status, _, content = ask(f"/state/{TOKEN}", "POST")
    assert (status, content) == (200, b'{"g": "g1"}')


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(ask, method):
    assert ask(FILE, method)[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "/", "/files/", "/files//image/zarr.json", "/files/wrong/image/zarr.json", "/v/wrong/", "/v//",
        f"/files/{TOKEN[:-1]}/image/zarr.json", "/files/wrong/properties/info",
        f"/files/{TOKEN}/other/zarr.json", f"/v/{TOKEN}/other.js", "/files/wrong/row/5",
    ],
)  # fmt: skip
def test_without_the_token_there_is_nothing(ask, path):
    assert ask(path)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "../secret", "0/../../secret", "%2e%2e/secret", "..%2fsecret", "%2e%2e%2fsecret",
        "../store-beside/secret", "/etc/passwd", "%2fetc%2fpasswd", "link", "0/c/../../../secret",
        "....//secret", "..\\secret", "", "%00", "zarr.json%00", "0",
    ],
)  # fmt: skip
def test_files_elsewhere_are_refused(ask, path):
    status, _, content = ask(f"/files/{TOKEN}/image/{path}")
    assert status in (301, 400, 403, 404)
    assert b"secret" not in content and b"root:" not in content


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.x"])
def test_other_host_names_are_refused(ask, host):
    assert ask(FILE, Host=host)[0] == 403
    assert ask(f"/v/{TOKEN}/", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:1234", "localhost", "localhost:1234", "LOCALHOST:1"])
def test_host_names_of_this_machine_are_served(ask, host):
    assert ask(FILE, Host=host)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "0/c/0/0/1", "labels/truth/0/c/3/2", "1/0/0/1",
        "5/zarr.json", "labels/truth/zarr.json", "labels/truth/.zattrs", ".zattrs",
    ],
)  # fmt: skip
def test_a_missing_part_is_damage_and_not_black(ask, messages, path):
    assert ask(f"/files/{TOKEN}/image/{path}")[0] == 410
    assert len(messages) == 1 and f"{path} is missing" in messages[0]


@pytest.mark.parametrize("path", ["0/.zattrs", "labels/.zgroup", ".zarray", "0/.zarray"])
def test_other_files_that_are_not_there_are_not_damage(ask, messages, path):
    assert ask(f"/files/{TOKEN}/image/{path}")[0] == 404
    assert not messages


def test_the_page_may_speak_to_this_server_only(ask):
    status, headers, content = ask(f"/v/{TOKEN}/")
    assert (status, content) == (200, b"<html></html>")
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self' data: blob:"
    assert not [source for sources in policy.values() for source in sources.split() if "://" in source]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_properties_are_json(ask):
    status, headers, content = ask(f"/files/{TOKEN}/properties/info")
    assert (status, content) == (200, b'{"n": 1}')
    assert headers["Content-Type"].startswith("application/json")
