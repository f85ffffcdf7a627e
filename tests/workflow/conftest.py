import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

# A network and a training that are over in seconds.
TINY = {
    "split": {"val": 0.25, "test": 0.25},
    "model": {"width": 4, "depth": 2},
    "training": {"epochs": 2, "epoch_patches": 1, "patch_size": 64, "batch_size": 4, "precision": "fp32"},
}


@pytest.fixture(scope="session")
def snakemake():
    """Run Snakemake in a folder, on its `my.yaml`, as a user would."""

    def run(folder, *arguments, config=None):
        if config is not None:
            (folder / "my.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile")]
        command += ["--cores", "2", "--directory", str(folder), "--configfile", str(folder / "my.yaml")]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def tiny():
    return TINY
