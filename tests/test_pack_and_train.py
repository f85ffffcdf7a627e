"""From folders of labelled images to a scored model: the scripts of resources/models, as run."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from slideunet.model_json import learned_contents, read_model_facts
from slideunet.network.in_memory.archive import Entry, PackedImage, read_archive, read_index, write_archive
from slideunet.network.in_memory.destained import DESTAINED
from slideunet.network.inference.engines import open_engine
from slideunet.network.inference.predict_region import predict_core
from slideunet.slides.normalisation import Normalisation

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "resources/models"


@pytest.fixture(scope="module")
def pack():
    spec = importlib.util.spec_from_file_location("pack", MODELS / "pack.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = module  # Its dataclass looks it up.
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pack"]


@pytest.fixture(scope="module")
def score(pack):
    """Import score.py, which imports pack.py."""
    spec = importlib.util.spec_from_file_location("score", MODELS / "score.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_source(folder, names, *, groups, modality="fluorescence", stain="DAPI", also=None, ignored=False):
    """Write images of bright squares; every image is another one."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows = []
    for number, name in enumerate(names):
        rng = np.random.default_rng([number, len(folder.name)])
        labels = np.zeros((90, 110), np.uint16)
        for cell, (y, x) in enumerate(np.ndindex(4, 5), start=1):
            top, left = 20 * y + rng.integers(2, 6), 20 * x + rng.integers(2, 6)
            labels[top : top + 11, left : left + 11] = cell
        image = (np.where(labels > 0, 160, 30) + rng.normal(0, 6, labels.shape)).clip(0, 255).astype(np.uint8)
        if ignored:
            labels[:10] = 65535
        Image.fromarray(image).save(folder / f"images/{name}.png")
        Image.fromarray(labels).save(folder / f"masks/{name}.png")
        rows.append(
            {
                "image_id": name,
                "modality": modality,
                "stain": stain,
                "n_nuclei": 20,
                "group": groups[number],
                "also_in_bbbc039": (also or {}).get(name, ""),
                "licence": "CC0-1.0",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory, pack):
    folder = tmp_path_factory.mktemp("data")
    shipped = json.loads((MODELS / "nuclei-fluorescence/model.json").read_text())["training"]["slides"]
    known = [*shipped["train"][:2], shipped["val"][0], "f" * 16, "e" * 16]
    names = [name + "0" * 48 for name in known]
    groups = ["a", "a", "b", "c", "d"]
    write_source(folder / "dsb2018", names, groups=groups, also={names[4]: "BBBC039 image"})
    write_source(
        folder / "bsst265",
        [f"N{i:02}" for i in range(12)],
        groups=[f"N{i:02}" for i in range(12)],
        ignored=True,
    )
    write_source(folder / "coelho2009", [f"C{i:02}" for i in range(10)], groups=["gnf", "ic100"] * 5)
    return folder


@pytest.fixture(scope="module")
def packed(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "nuclei.zip"
    command = [sys.executable, str(MODELS / "pack.py"), str(data), "--out", str(path)]
    done = subprocess.run(
        [*command, "--sources", "dsb2018", "bsst265", "coelho2009"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize(
    ("kinds", "asked", "sources"),
    [
        (("fluorescence", "brightfield"), True, ["A", DESTAINED]),
        (("fluorescence", "brightfield"), False, ["A"]),
        (("fluorescence",), True, ["A"]),
    ],
)
def test_stained_images_are_shown_as_fluorescence_where_there_are_some(
    tmp_path, caplog, kinds, asked, sources
):
    labels = np.zeros((20, 30), np.uint16)
    labels[4:12, 5:15] = 1
    images = []
    for kind in kinds:
        entry = Entry(kind, "A", "g", "s", kind, "train", True, "CC0-1.0", kind)
        pixels = np.broadcast_to(np.where(labels > 0, 90, 200), (1 if kind == "fluorescence" else 3, 20, 30))
        images.append((PackedImage(entry, pixels.astype(np.uint8), labels), None))
    write_archive(tmp_path / "packed.zip", images)
    spec = importlib.util.spec_from_file_location("train", MODELS / "train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    recipe = SimpleNamespace(kind="fluorescence", destained=asked)
    found = train.packed_images(tmp_path / "packed.zip", recipe)
    assert [image.entry.source for image in found] == sources
    assert all(image.image.shape == (1, 20, 30) for image in found)
    assert ("no H&E image" in caplog.text) is (asked and len(kinds) == 1)


def test_no_test_part_and_nothing_of_bbbc039_is_packed(packed, data):
    entries = read_index(packed)
    assert {row["split"] for row in entries} == {"train", "val"}
    dsb = {row["name"]: row["split"] for row in entries if row["source"] == "dsb2018"}
    names = list(pd.read_csv(data / "dsb2018/metadata.csv")["image_id"])
    # The shipped model was trained on the first two; the fourth was a test image.
    assert dsb == {names[0]: "train", names[1]: "train", names[2]: "val"}
    for source, total in (("bsst265", 12), ("coelho2009", 10)):
        assert 0 < sum(row["source"] == source for row in entries) < total
        assert {row["split"] for row in entries if row["source"] == source} == {"train", "val"}


def test_no_group_is_in_two_splits(pack, data):
    table = pack.read_table(data / "bsst265", pack.SOURCES["bsst265"])
    table["group"] = [f"g{i // 2}" for i in range(len(table))]
    splits = pack.divide(table, pack.SOURCES["bsst265"], {})
    assert all(len(set(ones)) == 1 for _, ones in splits.groupby(table["group"]))
    assert set(splits) == {"train", "val", "test"}
    shuffled = table.sample(frac=1, random_state=0).reset_index(drop=True)
    again = dict(zip(shuffled["image_id"], pack.divide(shuffled, pack.SOURCES["bsst265"], {}), strict=True))
    assert again == dict(zip(table["image_id"], splits, strict=True))


def test_labels_are_packed_without_loss_and_ignored_pixels_stay(packed, data):
    for image in read_archive(packed, "fluorescence"):
        truth = np.asarray(Image.open(data / image.entry.source / f"masks/{image.entry.name}.png"))
        assert np.array_equal(image.labels, truth)
        assert (image.labels == 65535).any() == (image.entry.source == "bsst265")


def test_a_file_that_is_too_large_is_refused(data, tmp_path):
    command = [sys.executable, str(MODELS / "pack.py"), str(data), "--out", str(tmp_path / "a.zip")]
    done = subprocess.run(
        [*command, "--sources", "bsst265", "--most-mb", "0.01"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "more than 0.01" in done.stderr


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    values = yaml.safe_load((MODELS / "fluorescence.yaml").read_text())
    model = values["model"] | {"width": 4, "depth": 2, "encoder": None}
    values |= {
        "model": model,
        "init_from": None,
        "encoder_weights": "random",
        "batch_size": 4,
        "patch_size": 64,
    }
    values |= {
        "learning_rate": 0.02,
        "validations": 1,
        "validation_images": 1,
        "precision": "fp32",
        "ema": 0.9,
    }
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def command(packed, small, out, minutes, *more):
    return [
        *(sys.executable, str(MODELS / "train.py"), "--data", str(packed), "--recipe", str(small)),
        *("--minutes", str(minutes), "--out", str(out), "--device", "cpu", *more),
    ]


def run(*arguments, **options):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=500, **options)


def test_a_training_leaves_a_model_that_predicts_is_tuned_and_scored(packed, small, data, tmp_path):
    out = tmp_path / "model"
    done = run(packed, small, out, 0.7)
    assert done.returncode == 0, done.stderr
    facts = read_model_facts(out)
    assert facts["training"]["steps"] > 0
    assert set(facts["training"]["history"][-1]["sources"]) == {"dsb2018", "bsst265", "coelho2009"}
    contents = {row["content"] for row in read_index(packed)}
    assert set(learned_contents(out)) == contents
    tuned = subprocess.run(
        [sys.executable, str(MODELS / "tune.py"), str(out), "--data", str(packed), "--images", "1"],
        capture_output=True,
        text=True,
    )
    assert tuned.returncode == 0, tuned.stderr
    after = read_model_facts(out)
    assert {"distance", "centres", "watershed", "components"} == set(after["decodings"])
    assert after["sha256"] == facts["sha256"]
    engine = open_engine(out, after, engine="torch", heads=("distance",), precision="fp32", threads=1)
    image = read_archive(packed, "fluorescence")[0].image
    found = predict_core(engine, image[:, :64, :64], Normalisation((30.0,), (130.0,)), ((0, 64), (0, 64)))
    assert found.shape == (2, 64, 64)
    sources = ("dsb2018", "bsst265", "coelho2009")
    options = ("--split", "test", "--zooms", "1", "0.5", "--sources", *sources)
    scored = subprocess.run(
        [sys.executable, str(MODELS / "score.py"), str(data), str(out), *options],
        capture_output=True,
        text=True,
    )
    assert scored.returncode == 0, scored.stderr
    rows = [line.split(" | ") for line in scored.stdout.splitlines() if line.startswith("| ")][1:]
    assert [(row[0].strip("| "), row[1]) for row in rows] == [
        (source, zoom) for zoom in ("1", "0.5") for source in sources
    ]
    # The dsb2018 test image is the one that the shipped model never saw; it has 20 squares.
    assert int(rows[0][-2]) == 20


def test_windows_without_nuclei_hold_none(score):
    labels = np.zeros((300, 280), np.uint16)
    labels[:90], labels[:, 200:] = 1, 2
    full = np.ones((300, 280), np.uint16)
    image = np.zeros((1, 300, 280), np.uint8)
    ((_, place),) = score.empty_windows([("a", image, labels), ("b", image, full)])
    window = labels[place]
    assert window.shape == (score.WINDOW, score.WINDOW)
    assert not window.any()
    many = [(source, image, labels) for source in "ab" for _ in range(30)]
    assert len(list(score.empty_windows(many))) == score.WINDOWS


def test_zoomed_labels_stay_labels(score):
    labels = np.zeros((91, 77), np.uint16)
    labels[10:40, 20:50], labels[60:, 60:] = 7, 65535
    image = np.where(labels > 0, 200, 10).astype(np.uint8)[None]
    for factor in (0.5, 1, 1.7):
        zoomed, marked = score.zoomed(factor, image, labels)
        assert marked.shape == zoomed.shape[1:] == tuple(round(side * factor) for side in labels.shape)
        assert set(np.unique(marked)) == {0, 7, 65535}
        assert (marked == 7).sum() == pytest.approx(900 * factor**2, rel=0.15)


def test_a_training_that_is_asked_to_end_goes_on(packed, small, tmp_path):
    out = tmp_path / "model"
    process = subprocess.Popen(
        command(packed, small, out, 20),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    for line in process.stdout:
        if "Validation of step 0" in line:
            break
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    rest = process.stdout.read()
    assert process.wait(60) == 143, rest
    assert "--resume continues" in rest
    assert not (out / "model.json").exists()
    refused = run(packed, small, out, 0.1)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    # Its time is over by now, so it validates and writes.
    done = run(packed, small, out, 0.1, "--resume")
    assert done.returncode == 0, done.stderr
    assert "Resuming after step" in done.stdout
    assert read_model_facts(out)["training"]["steps"] > 0


def test_a_source_that_is_left_out_is_only_validated_on(packed, small, tmp_path):
    out = tmp_path / "model"
    done = run(packed, small, out, 0.3, "--leave-out", "coelho2009", "--set", "validation_images=2")
    assert done.returncode == 0, done.stderr
    training = read_model_facts(out)["training"]
    assert not {name for name in training["slides"]["train"] if name.startswith("C")}
    assert all(name.startswith("C") for name in training["slides"]["val"])
    assert set(training["history"][-1]["sources"]) == {"coelho2009"}


def test_bad_input_is_one_message_and_exit_code_2(packed, small, tmp_path):
    for more, words in (
        (("--leave-out", "none"), "the packed file has"),
        (("--set", "batchsize=2"), "batchsize"),
    ):
        done = run(packed, small, tmp_path / "out", 0.1, *more)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert run(tmp_path / "none.zip", small, tmp_path / "out", 0.1).returncode == 2


BARE = """
import runpy, sys

blocked = {blocked!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{{name}} is not on a bare machine", name=name)

sys.meta_path.insert(0, Blocker())
for script in ("train", "tune"):
    runpy.run_path(f"resources/models/{{script}}.py", run_name="imported")
print("fine")
"""
BLOCKED = (
    *(
        "snakemake",
        "dask",
        "distributed",
        "dask_jobqueue",
        "openvino",
        "openslide",
        "rasterio",
        "imagecodecs",
    ),
    *("isal", "pyarrow", "jsonschema", "jinja2", "tensorboard", "cryptography", "ome_zarr"),
)


def test_nothing_is_imported_that_a_bare_machine_lacks():
    code = BARE.format(blocked=BLOCKED)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "fine", done.stderr
