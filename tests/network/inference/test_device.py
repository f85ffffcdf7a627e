"""The settings under which a GPU computes, which can be looked at without one."""

import threading

import torch

from slideunet.network.inference.device import exact_kernels

GPU = torch.device("cuda")


def settings():
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32


def test_cudnn_computes_deterministically_and_without_tf32_and_is_as_before_afterwards():
    before = settings()
    with exact_kernels(GPU):
        assert settings() == (True, False, True, False)
    assert settings() == before
    with exact_kernels(torch.device("cpu")):
        assert settings() == before


def test_no_thread_changes_the_settings_of_another():
    before, seen = settings(), []
    entered, leave = threading.Event(), threading.Event()

    def first():
        with exact_kernels(GPU):
            entered.set()
            leave.wait(10)
            seen.append(settings())

    def second():
        with exact_kernels(GPU):
            seen.append(settings())

    one, other = threading.Thread(target=first), threading.Thread(target=second)
    one.start()
    entered.wait(10)
    other.start()
    other.join(0.2)
    assert other.is_alive() and not seen
    leave.set()
    one.join()
    other.join()
    assert seen == [(True, False, True, False)] * 2
    assert settings() == before
