"""Neuroglancer's server with our files; without a browser."""

import json
import socket
import threading
import urllib.error
import urllib.request

import pytest

from slideunet.errors import InputError, MachineError
from slideunet.viewing import session
from slideunet.viewing.session import check_loopback, viewing
from slideunet.viewing.state import CELLS, CHOSEN

neuroglancer = pytest.importorskip("neuroglancer", reason="pip install -r envs/requirements-view.txt")


def read(address, **content):
    data = {"data": json.dumps(content).encode()} if content else {}
    with urllib.request.urlopen(urllib.request.Request(address, **data), timeout=60) as answer:
        return answer.read()


@pytest.fixture
def address(viewed):
    with viewing(viewed) as address:
        yield address


@pytest.fixture
def viewer(address):
    return neuroglancer.server.global_server.viewers[address.split("/")[-2]]


def wait_for(viewer, condition):
    changed = threading.Event()
    viewer.shared_state.add_changed_callback(changed.set)
    while not condition(viewer.shared_state.raw_state):
        assert changed.wait(60)
        changed.clear()


def test_page_state_and_files_are_served(viewed, address, viewer):
    assert address.startswith("http://127.0.0.1:")
    page = read(address).decode()
    assert "page.css" in page and "main" in page
    assert b"annotation" in read(f"{address}page.css")
    source = next(layer for layer in viewer.shared_state.raw_state["layers"] if layer["name"] == CELLS)[
        "source"
    ]
    url = source[0]["url"].split("|")[0]
    assert json.loads(read(f"{url}zarr.json"))["node_type"] == "group"
    ids = json.loads(read(source[1].removeprefix("precomputed://") + "/info"))["inline"]["ids"]
    assert len(ids) > 10


def test_what_the_package_serves_is_of_this_machine_too(address):
    port = address.split(":")[2].split("/")[0]
    request = urllib.request.Request(address, headers={"Host": f"evil.example:{port}"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=60)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(f"http://127.0.0.1:{port}/v/wrong/")
    names = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), 0)}
    assert not [name for name in names if not name.startswith("127.") and connects(name, int(port))]


def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def test_a_click_shows_the_row(address, viewer):
    post = address.replace("/v/", "/action/").rstrip("/")
    selected = {CELLS: {"value": "5"}}
    read(post, action="show-cell", state={"selectedValues": selected, "viewerState": {}})
    wait_for(viewer, lambda state: state["layers"][-1]["name"] == CHOSEN)
    [box] = viewer.shared_state.raw_state["layers"][-1]["annotations"]
    assert box["id"] == "5"


def test_a_key_and_a_choice_move_to_the_error(address, viewer):
    post = address.replace("/v/", "/action/").rstrip("/")
    read(post, action="next-error", state={})
    points = {p["id"]: p["point"] for p in viewer.shared_state.raw_state["layers"][-1]["annotations"]}
    first, *_, last = points.values()
    wait_for(viewer, lambda state: state["position"] == first)
    chosen = {"selection": {"layers": {"errors": {"annotationId": [*points][-1]}}}}
    viewer.shared_state.set_state(viewer.shared_state.raw_state | chosen)
    wait_for(viewer, lambda state: state["position"] == last)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_other_machines_cannot_be_let_in(viewed, host):
    with pytest.raises(InputError, match="does not listen on"), viewing(viewed, host):
        pass
    check_loopback("127.0.0.1")


def test_a_port_that_is_taken_is_named(viewed):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(MachineError, match=f"Port {port} of 127.0.0.1 cannot be used"),
            viewing(viewed, port=port),
        ):
            pass
    with viewing(viewed, port=port) as address:
        assert f":{port}/" in address


def test_a_server_ends_with_its_block(viewed):
    with viewing(viewed) as address:
        read(address)
    with pytest.raises(urllib.error.URLError):
        read(address)


def test_a_missing_package_is_named(viewed, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "neuroglancer", None)
    with pytest.raises(MachineError, match="make view"):
        session._neuroglancer()
