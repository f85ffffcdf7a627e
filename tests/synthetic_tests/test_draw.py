import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from synthetic import draw
from synthetic.drawing import draw as draw_region
from synthetic.scene import Scene


@pytest.mark.parametrize(("look", "seed"), [("fluorescence", 3), ("histology", 4)])
def test_the_files_hold_the_slide_that_the_options_describe(tmp_path, look, seed):
    image, labels = tmp_path / "a.ome.tif", tmp_path / "a_labels.tif"
    options = ["--look", look, "--size", "131", "97", "--seed", str(seed), "--density", "1.5"]
    draw.main([str(image), "--labels", str(labels), *options])
    scene = Scene(look, seed=seed, donor_seed=0, height=131, width=97, density=1.5)
    pixels, ids = draw_region(scene.region, scene)
    stored = tifffile.imread(image)
    np.testing.assert_array_equal(
        stored if stored.ndim == 2 else stored.transpose(2, 0, 1), np.squeeze(pixels)
    )
    np.testing.assert_array_equal(tifffile.imread(labels), ids)
    assert ids.any()


def test_what_cannot_be_drawn_is_one_message_and_exit_code_2(tmp_path):
    command = [sys.executable, Path(draw.__file__), tmp_path / "a.tif", "--size", "0", "9"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("slide: size is 0 x 9")
    assert len(run.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
