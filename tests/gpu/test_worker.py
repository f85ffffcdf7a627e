"""A worker of a local cluster takes the card with its number, before CUDA is looked at."""

import os
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.gpu

_WORKER = """
import os, sys, types
name = {name!r}
sys.modules["distributed"] = types.SimpleNamespace(get_worker=lambda: types.SimpleNamespace(name=name))
from slideunet.network.inference.device import best_device, take_own_gpu
take_own_gpu()
take_own_gpu()
import torch
print(os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count(), best_device())
"""


def worker(name, pytestconfig):
    path = os.pathsep.join([str(pytestconfig.rootpath / "workflow/lib"), *filter(None, sys.path)])
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    run = subprocess.run(
        [sys.executable, "-c", _WORKER.format(name=name)],
        env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.split()


def test_each_worker_has_a_card_of_its_own(device, pytestconfig):
    cards = torch.cuda.device_count()
    for name in range(max(cards, 1)):
        expected = [str(name), "1", "cuda"] if cards else [str(name), "0", "cpu"]
        assert worker(name, pytestconfig) == expected


def test_a_worker_with_another_name_keeps_what_it_is_given(device, pytestconfig):
    assert worker("SLURMCluster-0", pytestconfig)[:2] == ["None", str(torch.cuda.device_count())]
