"""One seed: its model as it is. Several: tests/network/training and tests/workflow/test_models.py."""

import os
import sys

import join_seeds

FILES = ("model.safetensors", "model.json", "history.csv", "curves.png", "patches.png")


def test_the_model_of_one_seed_is_copied_byte_by_byte(tmp_path, monkeypatch):
    (tmp_path / "seed").mkdir()
    (tmp_path / "model").mkdir()
    for name in FILES:
        (tmp_path / "seed" / name).write_bytes(os.urandom(99))
    # Without the seconds that torch takes to start.
    monkeypatch.setitem(sys.modules, "torch", None)
    join_seeds.main(
        split_table=tmp_path / "split.tsv", slides_folder=tmp_path / "slides", models=[tmp_path / "seed"],
        outputs=[tmp_path / "model" / name for name in FILES], threads=1,
    )  # fmt: skip
    for name in FILES:
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "seed" / name).read_bytes()
