"""Neuroglancer's server with our files; without a browser."""

import dataclasses
import gc
import json
import re
import socket
import sys
import urllib.error
import urllib.request

import pandas as pd
import pyarrow as pa
import pytest

from slideunet.errors import InputError, MachineError
from slideunet.viewing import session
from slideunet.viewing.cell_table import read_row
from slideunet.viewing.session import check_loopback, viewing
from slideunet.viewing.state import CELLS

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


def test_page_state_and_files_are_served(viewed, address, viewer):
    assert address.startswith("http://127.0.0.1:")
    page = read(address).decode()
    assert "page.css" in page and "page.js" in page and "main" in page
    assert b"show-cell" in read(f"{address}page.js")
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


def messages(viewer):
    return viewer.config_state.raw_state.get("statusMessages", {})


def test_a_row_is_served(viewed, address):
    files = address.replace("/v/", "/files/")
    found = json.loads(read(f"{files}row/5"))
    assert found["row"] == read_row(viewed.table, 5)
    assert [b - a for a, b in zip(found["pointA"], found["pointB"], strict=True)] > [0, 0]


def without_row(viewed, tmp_path, change):
    table = tmp_path / "S1.parquet"
    change(pd.read_parquet(viewed.table)).to_parquet(table)
    return dataclasses.replace(viewed, table=table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[rows["cell"] != 5], r"Damaged: .* has no row for cell 5\. Run"),
        (lambda rows: rows.drop(columns="x_min"), r"Damaged: .* has no column 'x_min'\. Delete"),
        (lambda rows: rows.drop(columns="cell"), r"cannot be read .* Delete it and run"),
    ],
)
def test_a_table_without_what_is_asked_is_said_and_the_server_goes_on(viewed, tmp_path, change, message):
    with viewing(without_row(viewed, tmp_path, change)) as address:
        viewer = neuroglancer.server.global_server.viewers[address.split("/")[-2]]
        files = address.replace("/v/", "/files/")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(f"{files}row/5")
        assert re.search(message, messages(viewer)["damage"])
        assert json.loads(read(f"{files}image/zarr.json"))


def test_a_table_that_is_lost_meanwhile_is_said(viewed, tmp_path):
    slide = without_row(viewed, tmp_path, lambda rows: rows)
    with viewing(slide) as address:
        viewer = neuroglancer.server.global_server.viewers[address.split("/")[-2]]
        slide.table.unlink()
        for what in ("row/5", "properties/info"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                read(address.replace("/v/", "/files/") + what)
            assert "S1.parquet cannot be read" in messages(viewer)["damage"]
            assert "Traceback" not in messages(viewer)["damage"]
        assert b"page.js" in read(address)


def test_a_slide_without_a_table_has_no_rows(viewed):
    with viewing(dataclasses.replace(viewed, table=None)) as address:
        viewer = neuroglancer.server.global_server.viewers[address.split("/")[-2]]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(address.replace("/v/", "/files/") + "row/5")
        assert "no table of cells yet" in messages(viewer)["damage"]


def test_large_requests_are_refused(address):
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        read(address.replace("/v/", "/state/").rstrip("/"), s="x" * 2**21)
    assert b"page.js" in read(address)


def test_memory_is_bounded_over_many_requests(viewed, address):
    files = address.replace("/v/", "/files/")
    chunk = next(
        path for path in (viewed.image / "0").rglob("*") if path.is_file() and path.name != "zarr.json"
    )
    asked = [chunk.relative_to(viewed.image), "labels/truth/zarr.json"]

    def ask(times):
        for _ in range(times):
            for path in asked:
                read(f"{files}image/{path}")
            read(f"{files}row/5")
            read(f"{files}properties/info")
        gc.collect()
        return pa.total_allocated_bytes(), sum(sys.getsizeof(o) for o in gc.get_objects())

    ask(20)
    before, after = ask(20), ask(60)
    assert after[0] <= before[0] + 2**20
    assert after[1] <= before[1] + 2**20


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
