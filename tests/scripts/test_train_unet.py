import json
import shutil

import pytest

import train_unet
from slideunet.network.training import train

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = {"normalisation": "unit", "background": "dark"}
FILES = ("curves.png", "history.csv", "model.json", "model.safetensors", "patches.png")


@pytest.fixture
def folder(tmp_path, convert_cells):
    for seed, slide in enumerate(("001", "002", "003")):
        convert_cells(tmp_path, slide, seed=seed, height=70, width=66)
    write_split(tmp_path, "HE")
    (tmp_path / "model").mkdir()  # As Snakemake does for what a rule writes.
    return tmp_path


def write_split(folder, stratum):
    rows = [("001", "a", stratum, "train"), ("002", "b", "HE", "val"), ("003", "c", "HE", "test")]
    table = [("slide", "group", "stratum", "split"), *rows]
    (folder / "split.tsv").write_text("\n".join("\t".join(row) for row in table) + "\n", encoding="utf-8")


@pytest.fixture
def run(folder, training_section, model_section):
    model = model_section | {"heads": []}

    def main(initial=None, **changes):
        outputs = {
            "facts": "model.json",
            "weights": "model.safetensors",
            "history": "history.csv",
            "curves": "curves.png",
            "patches": "patches.png",
        }
        train_unet.main(
            split_table=folder / "split.tsv",
            slides_folder=folder / "slides",
            model=model,
            data=DATA,
            training=training_section | changes,
            initial=initial,
            states=folder / "state",
            threads=1,
            **{name: folder / "model" / file for name, file in outputs.items()},
        )
        return json.loads((folder / "model/model.json").read_text())

    return main


def test_a_model_is_trained_on_the_slides_of_the_split(run, folder):
    facts = run()
    assert facts["training"]["slides"] == {"train": ["001"], "val": ["002"]}
    assert {path.name for path in (folder / "model").iterdir()} == {*FILES}
    states = list((folder / "state").iterdir())
    assert len(states) == 1
    for name in FILES:
        assert (states[0] / name).read_bytes() == (folder / "model" / name).read_bytes()


def test_a_finished_training_is_taken_from_its_state(run, folder, monkeypatch):
    facts = run()
    weights = (folder / "model/model.safetensors").read_bytes()
    for name in FILES:
        (folder / "model" / name).unlink()  # As Snakemake does before it runs a job again.
    monkeypatch.setattr(train, "train_model", lambda *args, **kwargs: 1 / 0)
    assert run() == facts
    assert (folder / "model/model.safetensors").read_bytes() == weights
    with pytest.raises(ZeroDivisionError):
        run(epochs=3)


def test_strata_count_where_slides_are_drawn_by_them_and_only_there(run, folder, monkeypatch):
    asked = []

    def note(*_, strata, folder, **__):
        asked.append((strata, folder.name))
        raise InterruptedError

    monkeypatch.setattr(train, "train_model", note)
    for balance in (0.0, 1.0):
        for stratum in ("HE", "PAS"):
            write_split(folder, stratum)
            with pytest.raises(InterruptedError):
                run(balance=balance)
    assert [strata for strata, _ in asked] == [
        {}, {}, {"001": "HE", "002": "HE", "003": "HE"}, {"001": "PAS", "002": "HE", "003": "HE"}
    ]  # fmt: skip
    states = [state for _, state in asked]
    assert states[0] == states[1]
    assert len(set(states)) == 3


@pytest.mark.slow
def test_fine_tuning_depends_on_the_weights_and_not_on_their_place(run, folder):
    first = run()
    shutil.copytree(folder / "model", folder / "a")
    shutil.copytree(folder / "model", folder / "b")
    tuned = run(initial=folder / "a")
    assert tuned["sha256"] != first["sha256"]
    assert tuned["training"]["init_from"] == first["sha256"]
    states = {path.name for path in (folder / "state").iterdir()}
    run(initial=folder / "b")
    assert {path.name for path in (folder / "state").iterdir()} == states
