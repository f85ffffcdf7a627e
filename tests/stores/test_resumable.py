"""Stores that are made block by block: killed, disturbed, shared out, on full disks."""

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import slideunet
from slideunet.errors import DamagedDataError, MachineError
from slideunet.stores import manifests, omezarr, verified
from slideunet.stores import resumable as module
from slideunet.stores.fingerprint import fingerprint
from slideunet.stores.resumable import building, read_journal

pytestmark = pytest.mark.usefixtures("small_blocks")

# 6 blocks of 512 px, the last one smaller.
PIXELS = np.random.default_rng(0).integers(0, 255, (1, 2600, 70)).astype(np.uint8)
NEW, OLD = fingerprint(of="new"), fingerprint(of="old")


class Killed(BaseException):
    pass


@pytest.fixture
def manifest(tmp_path):
    return tmp_path / "predictions" / "S1.json"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "locked", partial(module.locked, patience=0.3))


def creator(pixels):
    return lambda path: omezarr.create_image(path, pixels.shape, pixels.dtype, channels=["a"], mpp=None)


def begin(manifest, known=NEW, pixels=PIXELS, part=None):
    return building(manifest, known, creator(pixels), part=part)


@pytest.fixture
def build(fill_store):
    """Make a store unless it is up to date, as every script does."""

    def make(manifest, known=NEW, pixels=PIXELS):
        if not manifests.is_current(manifest, known):
            with begin(manifest, known, pixels) as store:
                fill_store(store, pixels)
                store.finish({"fingerprint": known, "shape": list(pixels.shape)})

    return make


def tree(manifest):
    """Everything that a store consists of, byte by byte."""
    folder = manifests.store_path(manifest)
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return files | {"": manifest.read_bytes()}


def names(manifest):
    return sorted(path.name for path in manifest.parent.iterdir())


# Going on


def test_a_store_is_built(manifest, build):
    build(manifest)
    assert names(manifest) == [".S1.lock", "S1.json", "S1.zarr"]
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)
    facts = manifests.read_manifest(manifest)
    assert facts["blocks"] == verified.block_digests(PIXELS)
    assert not (manifests.store_path(manifest) / ".journal").exists()


@given(order=st.permutations(range(6)), stop=st.integers(0, 6))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_interrupted_store_goes_on_where_it_was(tmp_path, fill_store, order, stop):
    manifest = Path(tempfile.mkdtemp(dir=tmp_path)) / "S1.json"
    with pytest.raises(Killed), begin(manifest) as store:
        assert store.todo() == list(range(6))
        for index in order[:stop]:
            fill_store(store, PIXELS, [index])
        raise Killed
    assert not manifest.exists()
    with begin(manifest) as store:
        assert set(store.done) == set(order[:stop])
        assert store.todo() == sorted(order[stop:])
        fill_store(store, PIXELS)
        store.finish({"fingerprint": NEW, "shape": list(PIXELS.shape)})
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)


def test_done_blocks_are_not_written_again(manifest, fill_store):
    with begin(manifest) as store:
        fill_store(store, PIXELS, [0, 3])
        files = {file: file.stat().st_mtime_ns for file in (store.path / "0").rglob("*") if file.is_file()}
        facts = dict(store.done)
    with begin(manifest) as store:
        assert store.done == facts
        fill_store(store, PIXELS)
    assert files == {file: file.stat().st_mtime_ns for file in files}


@pytest.mark.parametrize("torn", ["[1", '[1, {"digest": "ab', "\n[1, {", "\0\0\0\0", b"\xff\xfe["])
def test_a_line_of_the_journal_that_a_kill_cut_off_does_not_count(manifest, build, fill_store, torn):
    with begin(manifest) as store:
        fill_store(store, PIXELS, [0])
    journal = store.path / ".journal" / "0.jsonl"
    with journal.open("ab") as file:
        file.write(torn.encode() if isinstance(torn, str) else torn)
    with begin(manifest) as store:
        assert set(store.done) == {0}
        fill_store(store, PIXELS, [1])
    assert set(read_journal(store.path)) == {0, 1}
    build(manifest)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)


# What belongs to whom


def test_blocks_of_other_parameters_are_never_taken_over(manifest, build, fill_store):
    with begin(manifest, OLD, PIXELS // 2) as store:
        fill_store(store, PIXELS // 2, [0, 1, 2])
        old = store.path
    with begin(manifest, NEW) as store:
        assert store.path != old
        assert store.done == {}
        assert not old.exists()
    build(manifest)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)
    assert names(manifest) == [".S1.lock", "S1.json", "S1.zarr"]


@pytest.mark.parametrize("others", [["a.zarr", "b", "A1"], ["a.0", f"a.zarr.{'0' * 16}", "a.zarr.partial"]])
def test_leftovers_are_swept_and_those_of_similar_ids_are_not(tmp_path, fill_store, others):
    left = {}
    for slide in ["a", *others]:
        with begin(tmp_path / f"{slide}.json", OLD) as store:
            fill_store(store, PIXELS, [0])
        # Killed while a folder was being prepared or thrown away.
        left[slide] = [store.path, shutil.copytree(store.path, module.unfinished(store.path))]
    with begin(tmp_path / "a.json", NEW):
        pass
    for slide, paths in left.items():
        assert [path.is_dir() for path in paths] == [slide != "a"] * 2
    for slide in others:
        with begin(tmp_path / f"{slide}.json", OLD) as other:
            assert set(other.done) == {0}
        assert [path.is_dir() for path in left[slide]] == [True, False]


def test_what_a_worker_wrote_that_outlived_its_run_is_no_store(manifest, build, fill_store):
    with begin(manifest) as store:
        path = store.path
    build(manifest)
    (path / "0/c/0/0").mkdir(parents=True)
    (path / "0/c/0/0/0").write_bytes(b"late")
    manifest.unlink()
    build(manifest)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)
    assert names(manifest) == [".S1.lock", "S1.json", "S1.zarr"]


def test_a_sweep_that_is_killed_leaves_nothing_that_is_gone_on_with(manifest, build, fill_store, monkeypatch):
    with begin(manifest, OLD, PIXELS // 2) as store:
        fill_store(store, PIXELS // 2)

    def die_halfway(path, **options):
        (Path(path) / "0" / "zarr.json").unlink()
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module.shutil, "rmtree", die_halfway)
        build(manifest)
    # The user takes the change back.
    with begin(manifest, OLD, PIXELS // 2) as store:
        assert store.done == {}


def test_a_store_that_was_killed_before_its_manifest_is_taken_back(manifest, build, monkeypatch):
    def die(*args):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "write_manifest", die)
        build(manifest)
    assert names(manifest) == [".S1.lock", "S1.zarr"]
    with begin(manifest) as store:
        assert store.todo() == []
        store.finish({"fingerprint": NEW, "shape": list(PIXELS.shape)})
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)


def test_a_store_of_other_parameters_is_not_taken_back(manifest, build, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_manifest", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(manifest, OLD, PIXELS // 2)
    with begin(manifest, NEW) as store:
        assert store.done == {}
    build(manifest)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)


def test_a_finished_store_that_is_half_removed_is_not_taken_back(manifest, build, monkeypatch):
    """Killed right after its manifest, then made anew with other parameters and killed again, then back."""
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", lambda *args, **options: None)
        build(manifest, OLD, PIXELS // 2)
    assert (manifests.store_path(manifest) / ".journal").is_dir()

    remove = shutil.rmtree

    def die_halfway(path, **options):
        if path.name == ".journal":
            return remove(path)
        (path / "0" / "zarr.json").unlink()
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(verified.shutil, "rmtree", die_halfway)
        build(manifest, NEW)
    build(manifest, OLD, PIXELS // 2)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS // 2)


# Killed at any instant

SMALL = PIXELS[:, :520, :40]  # 2 blocks
CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "link")


def dies(step, do):
    """Do something in another process that is gone before its nth change of the file system."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        lock, count = threading.Lock(), iter(range(1, step))

        def counted(change, *args, **options):
            with lock:
                if next(count, None) is None:
                    os._exit(9)
            return change(*args, **options)

        for name in CHANGES:
            setattr(os, name, partial(counted, getattr(os, name)))
        do()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    finally:
        os._exit(0)


def check_truthful(manifest):
    """What a manifest says must be there, whole."""
    for known, pixels in ((OLD, SMALL // 2), (NEW, SMALL)):
        if manifests.is_current(manifest, known):
            np.testing.assert_array_equal(verified.open_image_store(manifest)[:], pixels)
            verified.check_complete(manifests.store_path(manifest))
    if manifest.exists():
        assert manifests.is_current(manifest, OLD) or manifests.is_current(manifest, NEW)


@pytest.fixture(params=["nothing", "all blocks, beside an older store"])
def start(request, tmp_path, build, fill_store):
    """A folder as a run finds it, and how many steps to skip between two kills."""
    folder = tmp_path / "start"
    folder.mkdir()
    if request.param == "nothing":
        return folder, 4
    build(folder / "S1.json", OLD, SMALL // 2)
    with begin(folder / "S1.json", NEW, SMALL) as store:
        fill_store(store, SMALL)
    return folder, 1


@pytest.mark.slow
def test_killed_at_any_change_of_the_disk_it_is_made_good_by_the_same_call(tmp_path, build, start):
    undisturbed = tmp_path / "undisturbed" / "S1.json"
    build(undisturbed, NEW, SMALL)
    expected = tree(undisturbed)
    (folder, stride), step, code = start, 1, 9
    while code == 9:
        manifest = tmp_path / str(step) / "S1.json"
        shutil.copytree(folder, manifest.parent)
        code = dies(step, lambda manifest=manifest: build(manifest, NEW, SMALL))
        check_truthful(manifest)
        over = manifests.is_current(manifest, NEW)
        build(manifest, NEW, SMALL)
        found = {name: data for name, data in tree(manifest).items() if not (over and ".journal" in name)}
        assert found == expected, f"killed before change {step}"
        assert [name for name in names(manifest) if name[0] != "."] == ["S1.json", "S1.zarr"]
        step += stride
    assert code == 0
    assert step > 60


def test_what_a_kill_in_the_middle_of_a_write_left_is_removed(manifest, build, fill_store):
    with begin(manifest) as store:
        fill_store(store, PIXELS, [0])
        (store.path / "0/c/0/1").mkdir()
        (store.path / "0/c/0/1/0.0123456789abcdef.partial").write_bytes(b"half")
        (store.path / "1/zarr.0123456789abcdef.partial").write_bytes(b"{")
    build(manifest)
    reference = manifest.parent / "again" / "S1.json"
    build(reference)
    assert tree(manifest) == tree(reference)


# Several at once


@pytest.mark.parametrize("parts", [1, 2, 3, 6, 9])
def test_parts_make_one_store_together(manifest, fill_store, parts):
    shares = [range(6 * part // parts, 6 * (part + 1) // parts) for part in range(parts)]
    for part, share in enumerate(shares):
        with begin(manifest, part=part) as store:
            todo = store.todo(share)
            assert todo == list(share)  # even where a part has none
            fill_store(store, PIXELS, share)
    assert not manifest.exists()
    with begin(manifest) as store:
        assert store.todo() == []
        store.finish({"fingerprint": NEW, "shape": list(PIXELS.shape)})
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)
    left = {f".S1.lock.{part}" for part in range(parts)} | {".S1.lock", "S1.json", "S1.zarr"}
    assert set(names(manifest)) == left


def test_two_parts_at_once_leave_each_other_alone(manifest, fill_store):
    with begin(manifest, part=0) as one, begin(manifest, part=1) as other:
        assert one.path == other.path
        for pair in ((0, 3), (1, 4), (2, 5)):
            for store, index in zip((one, other), pair, strict=True):
                fill_store(store, PIXELS, [index])
    assert set(read_journal(one.path)) == set(range(6))


def test_parts_and_restarts_agree_on_what_the_first_decided(manifest, fill_store):
    with begin(manifest, part=0) as one, begin(manifest, part=1) as other:
        # The other one decides while the first is deciding.
        assert one.decided("size", lambda: other.decided("size", lambda: {"scale": 2.0})) == {"scale": 2.0}
    with begin(manifest) as store:
        assert store.decided("size", lambda: {"scale": 4.0}) == {"scale": 2.0}
        assert store.decided("another", lambda: {"scale": 4.0}) == {"scale": 4.0}
        fill_store(store, PIXELS, range(6))
        store.finish({"fingerprint": NEW, "shape": list(PIXELS.shape)})
    left = {f".S1.lock.{part}" for part in (0, 1)} | {".S1.lock", "S1.json", "S1.zarr"}
    assert set(names(manifest)) == left


def test_a_part_that_is_missing_is_named(manifest, fill_store):
    with begin(manifest, part=1) as store:
        fill_store(store, PIXELS, range(2, 4))
    problem = "4 of 6 blocks are missing, the first is 0. A part has not finished"
    with begin(manifest) as store, pytest.raises(DamagedDataError, match=re.escape(problem)):
        store.finish({"fingerprint": NEW})
    assert not manifest.exists()
    assert not manifests.store_path(manifest).exists()


def test_nobody_writes_beside_a_whole_writer_and_it_beside_no_part(manifest):
    owner = rf"predictions: another process is writing this slide \(host .+, pid {os.getpid()}\)"
    for first, second in ((None, None), (None, 0), (0, None), (1, 1)):
        with (
            begin(manifest, part=first),
            pytest.raises(MachineError, match=owner),
            begin(manifest, part=second),
        ):
            raise AssertionError("two writers")


def test_a_slide_does_not_wait_for_another_one_with_a_similar_id(tmp_path):
    slides = [("a", 0), ("a.0", None), ("a.lock", None)], [("a", None), ("a.lock", 0)]
    for together in slides:
        with contextlib.ExitStack() as stack:
            begun = [stack.enter_context(begin(tmp_path / f"{name}.json", part=n)) for name, n in together]
            assert len({store.path for store in begun}) == len(together)


PART = """
import sys
from pathlib import Path
import numpy as np
from slideunet.stores import omezarr
from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.stores.resumable import building

manifest, shape, seed = Path(sys.argv[1]), (1, 9000, 40), 7
number, parts = int(sys.argv[2]), int(sys.argv[3])
pixels = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
create = lambda path: omezarr.create_image(path, shape, pixels.dtype, channels=["a"], mpp=None)
print("ready", flush=True)
sys.stdin.readline()
with building(manifest, "0" * 64, create, part=number if parts > 1 else None) as store:
    levels = omezarr.open_levels(store.path, "r+")
    count = len(BlockGrid(shape))
    for index in store.todo(range(count * number // parts, count * (number + 1) // parts)):
        region = BlockGrid(shape)[index]
        omezarr.write_block(levels, region, pixels[(..., *region)])
        store.record(index, {"digest": digest(pixels[(..., *region)])})
        print(index, flush=True)
    if parts == 1:
        store.finish({"fingerprint": "f", "shape": list(shape)})
"""


def start_part(manifest, number, parts):
    return subprocess.Popen(
        [sys.executable, "-c", PART, str(manifest), str(number), str(parts)],
        env=os.environ | {"PYTHONPATH": str(Path(slideunet.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_parts_in_processes_of_their_own_begin_at_the_same_instant(manifest):
    parts = [start_part(manifest, number, 3) for number in range(3)]
    assert [part.stdout.readline() for part in parts] == ["ready\n"] * 3
    for part in parts:
        part.stdin.write("go\n")
        part.stdin.flush()
    assert [part.communicate()[0] for part in parts] == ["0\n", "1\n", "2\n"]
    assert [part.returncode for part in parts] == [0, 0, 0]
    whole = start_part(manifest, 0, 1)
    assert whole.communicate("go\n")[0] == "ready\n"  # nothing was left to do
    assert whole.returncode == 0
    pixels = np.random.default_rng(7).integers(0, 255, (1, 9000, 40)).astype(np.uint8)
    facts = manifests.read_manifest(manifest)
    assert facts["shape"] == list(pixels.shape)
    found = omezarr.open_level(manifests.store_path(manifest), 0)[:]
    np.testing.assert_array_equal(found, pixels)
    assert not [name for name in names(manifest) if name.endswith((".new", ".partial"))]


def test_a_process_that_is_killed_leaves_its_blocks_and_no_lock(manifest):
    first = start_part(manifest, 0, 1)
    first.stdin.write("go\n")
    first.stdin.flush()
    assert [first.stdout.readline() for _ in range(2)] == ["ready\n", "0\n"]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    (unfinished,) = manifest.parent.glob("S1.zarr.*.partial")
    done = set(read_journal(unfinished))
    assert 0 in done
    second = start_part(manifest, 0, 1)
    out, _ = second.communicate("go\n")
    assert out.split() == ["ready", *(str(index) for index in range(3) if index not in done)]
    assert second.returncode == 0
    assert manifests.is_current(manifest, "f")


# What is not what was written


def swap(folder, one, other):
    """Put two files of the same size and format in each other's place."""
    one, other, third = folder / one, folder / other, folder / "third"
    one.rename(third)
    other.rename(one)
    third.rename(other)


def test_blocks_that_changed_places_are_noticed_before_the_manifest(manifest, fill_store):
    with begin(manifest) as store:
        fill_store(store, PIXELS)
        swap(store.path / "0", "c/0/0/0", "c/0/1/0")
        with pytest.raises(DamagedDataError, match=r"partial: block 0 is not what was written"):
            store.finish({"fingerprint": NEW})
    assert not manifest.exists()


@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_a_file_that_is_gone_is_noticed_before_the_manifest(manifest, fill_store, level):
    with begin(manifest) as store:
        fill_store(store, PIXELS)
        next(file for file in (store.path / level / "c").rglob("*") if file.is_file()).unlink()
        with pytest.raises(DamagedDataError, match=rf"partial/{level}: 1 of \d+ chunks are missing"):
            store.finish({"fingerprint": NEW})
    assert not manifest.exists()


# Disks


def fail_at(nth, error, monkeypatch):
    count = iter(range(1, nth))

    def failing(change, *args, **options):
        if next(count, None) is None:
            raise error
        return change(*args, **options)

    for name in ("mkdir", "replace", "fsync"):
        monkeypatch.setattr(os, name, partial(failing, getattr(os, name)))


@pytest.mark.parametrize("nth", [1, 6, 20, 40, 60, 70])
def test_a_full_disk_leaves_no_manifest_and_no_block_that_is_not_there(manifest, build, monkeypatch, nth):
    with monkeypatch.context() as patch:
        fail_at(nth, OSError(errno.ENOSPC, "No space left on device"), patch)
        with pytest.raises(OSError, match="No space left"):
            build(manifest)
    assert not manifest.exists()
    build(manifest)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)
    assert names(manifest) == [".S1.lock", "S1.json", "S1.zarr"]


def test_a_disk_that_is_full_when_a_block_is_noted(manifest, build, fill_store, monkeypatch):
    def torn(self, index, facts):
        with (self.path / ".journal" / "0.jsonl").open("a") as journal:
            journal.write("\n[3, ")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, begin(manifest) as store:
        fill_store(store, PIXELS, [0])
        patch.setattr(module.Building, "record", torn)
        with pytest.raises(OSError, match="No space left"):
            fill_store(store, PIXELS)
    assert set(read_journal(store.path)) == {0}
    build(manifest)
    np.testing.assert_array_equal(verified.open_image_store(manifest)[:], PIXELS)


FULL = """
import subprocess, sys
from pathlib import Path
import numpy as np
from slideunet.stores import omezarr, verified
from slideunet.geometry.blocks import BlockGrid, digest
from slideunet.stores.resumable import building
from slideunet.logs import log_to

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
manifest = folder / "S1.json"
pixels = np.random.default_rng(0).integers(0, 255, (1, 9000, 150)).astype(np.uint8)
create = lambda path: omezarr.create_image(path, pixels.shape, pixels.dtype, channels=["a"], mpp=None)
done = []

def build():
    with building(manifest, "0" * 64, create) as store:
        levels = omezarr.open_levels(store.path, "r+")
        for index in store.todo():
            region = BlockGrid(pixels.shape)[index]
            omezarr.write_block(levels, region, pixels[(..., *region)])
            store.record(index, {"digest": digest(pixels[(..., *region)])})
            done.append(index)
        store.finish({"shape": list(pixels.shape)})

try:
    with log_to(folder.parent / "job.log"):
        build()
except SystemExit as end:
    assert end.code == 4, end.code
assert not manifest.exists()
assert done == [0], done
subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
build()
assert done == [0, 1, 2], done
assert (verified.open_image_store(manifest)[:] == pixels).all()
"""


def test_a_real_disk_that_is_full(tmp_path):
    """In a mount namespace of its own, which needs root or user namespaces."""
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "disk")]
    if not shutil.which("unshare") or subprocess.run([*alone, *mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    run = subprocess.run(
        [*alone, sys.executable, "-c", FULL, str(tmp_path / "disk")],
        env=os.environ | {"PYTHONPATH": str(Path(slideunet.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "The disk is full. Finished work is kept" in (tmp_path / "job.log").read_text()


@pytest.fixture
def closed_folder():
    """A folder in which nothing may be written; root may write everywhere, so it is somebody else here."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    folder = Path(tempfile.mkdtemp())
    (folder / "predictions").mkdir()
    (folder / "predictions").chmod(0o500)
    yield folder / "predictions"
    (folder / "predictions").chmod(0o700)
    shutil.rmtree(folder)
    os.seteuid(user)


def test_a_folder_in_which_nothing_may_be_written(closed_folder, build):
    with pytest.raises(PermissionError):
        build(closed_folder / "S1.json")
    assert list(closed_folder.iterdir()) == []
