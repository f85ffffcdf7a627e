import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import openvino
import pytest

import slideunet
from slideunet.errors import DamagedDataError, InputError
from slideunet.model_json import int8_facts
from slideunet.network.inference import choose_engine as choose_engine_module
from slideunet.network.inference import engines
from slideunet.network.inference.choose_engine import choose_engine


@pytest.fixture
def model(tmp_path, random_network, save_network):
    return save_network(tmp_path / "model", random_network())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "predictions"


def choose(folder, model, engine="auto", precision="auto", pixels=10**9):
    facts = json.loads((model / "model.json").read_text())
    asked = {"engine": engine, "precision": precision, "heads": ()}
    return choose_engine(folder, model, facts, **asked, threads=1, pixels=pixels)


def choices(folder):
    return sorted(folder.iterdir()) if folder.is_dir() else []


def fixed(monkeypatch, *precisions):
    """Let the timing come to these results, one after the other, and count how often it is asked."""
    results, asked = iter(precisions), []

    def fastest(network, engine, threads, halo, precisions, ranges):
        asked.append(engine)
        return SimpleNamespace(precision=next(results)), {"fp32": 2.0, "bf16": 1.0}

    monkeypatch.setattr(engines, "fastest_engine", fastest)
    monkeypatch.setattr(engines, "keep_engine", lambda engine, facts, heads, threads: None)
    monkeypatch.setattr(openvino, "Core", lambda: Processor("FP32", "BF16"))
    return asked


class Processor:
    """What OpenVINO says of a processor."""

    def __init__(self, *capabilities):
        self.capabilities = list(capabilities)

    def get_property(self, device, name):
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return self.capabilities


@pytest.fixture
def calibrated(tmp_path, random_network, save_network):
    return save_network(tmp_path / "model", random_network(), int8=int8_facts({"decoder.0.0": (0.0, 1.0)}))


@pytest.mark.parametrize("precision", ["int8", "int8-bf16"])
def test_int8_needs_a_calibrated_model_and_openvino(folder, model, monkeypatch, precision):
    asked = fixed(monkeypatch)
    with pytest.raises(
        InputError, match=r"int8 needs a model calibrated .* make calibrate MODEL=folder IMAGES="
    ):
        choose(folder, model, precision=precision)
    facts = json.loads((model / "model.json").read_text())
    facts["int8"] = int8_facts({"decoder.0.0": (0.0, 1.0)})
    (model / "model.json").write_text(json.dumps(facts))
    assert choose(folder, model, "openvino", precision) == ("openvino", precision)
    assert choose(folder, model, "auto", precision) == ("openvino", precision)
    with pytest.raises(InputError, match=r"prediction\.engine is torch"):
        choose(folder, model, "torch", precision)
    assert (asked, choices(folder)) == ([], [])


@pytest.mark.parametrize("capabilities", [("FP32",), ("FP32", "BF16")])
def test_a_calibrated_model_is_timed_for_much_work_on_any_processor(
    folder, calibrated, monkeypatch, capabilities
):
    asked = fixed(monkeypatch, "int8")
    monkeypatch.setattr(openvino, "Core", lambda: Processor(*capabilities))
    assert choose(folder, calibrated, engine="openvino", pixels=10**9) == ("openvino", "int8")
    assert asked == ["openvino"]


def test_damaged_ranges_are_found_before_anything_is_predicted(folder, calibrated, monkeypatch):
    fixed(monkeypatch)
    path = calibrated / "model.json"
    path.write_text(path.read_text().replace('"decoder.0.0"', '"decoder.0.3"'))
    for precision in ("int8", "auto"):
        with pytest.raises(DamagedDataError, match=r"do not match their sha256.*make calibrate"):
            choose(folder, calibrated, engine="openvino", precision=precision)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_asked_for_is_not_timed_nor_kept(folder, model, monkeypatch, engine, precision):
    asked = fixed(monkeypatch)
    assert choose(folder, model, engine, precision) == (engine, precision)
    assert (asked, choices(folder)) == ([], [])


def test_the_first_choice_is_that_of_all_jobs(folder, model, monkeypatch, caplog):
    caplog.set_level("INFO")
    asked = fixed(monkeypatch, "bf16", "fp32")
    assert choose(folder, model, engine="torch") == ("torch", "bf16")
    assert choose(folder, model, engine="torch") == ("torch", "bf16")
    assert asked == ["torch"]
    (path,) = choices(folder)
    assert json.loads(path.read_text())["seconds"] == {"fp32": 2.0, "bf16": 1.0}
    assert "Engine torch, precision bf16, chosen on" in caplog.text


def test_another_question_or_model_has_its_own_choice(
    folder, model, monkeypatch, random_network, save_network
):
    asked = fixed(monkeypatch, "bf16", "fp32", "fp32")
    assert choose(folder, model, engine="torch") == ("torch", "bf16")
    assert choose(folder, model, engine="openvino") == ("openvino", "fp32")
    save_network(model, random_network(seed=1))
    assert choose(folder, model, engine="torch") == ("torch", "fp32")
    assert len(asked) == len(choices(folder)) == 3


def test_a_processor_without_bf16_computes_in_fp32_and_is_not_asked_by_the_clock(folder, model, monkeypatch):
    asked = fixed(monkeypatch)
    monkeypatch.setattr(openvino, "Core", lambda: Processor("FP32", "INT8"))
    assert choose(folder, model, engine="openvino") == ("openvino", "fp32")
    assert asked == []


def test_little_work_takes_the_word_of_the_processor_and_later_work_keeps_to_it(folder, model, monkeypatch):
    asked = fixed(monkeypatch, "fp32")
    assert choose(folder, model, engine="openvino", pixels=2 * 320**2) == ("openvino", "bf16")
    assert choose(folder, model, engine="openvino", pixels=10**9) == ("openvino", "bf16")
    assert asked == []


@pytest.mark.parametrize(("engine", "pixels"), [("openvino", 10**9), ("torch", 1), ("torch", 10**9)])
def test_much_work_and_torch_are_timed(folder, model, monkeypatch, engine, pixels):
    """The processor has bf16, and is slow in it."""
    asked = fixed(monkeypatch, "fp32")
    assert choose(folder, model, engine=engine, pixels=pixels) == (engine, "fp32")
    assert asked == [engine]


def test_the_engine_alone_may_be_chosen(folder, model, monkeypatch):
    asked = fixed(monkeypatch)
    monkeypatch.setattr(engines, "engine_of_machine", lambda engine: {"auto": "torch"}[engine])
    assert choose(folder, model, precision="bf16") == ("torch", "bf16")
    assert asked == []


def test_of_jobs_that_choose_at_once_the_first_one_counts(folder, model, monkeypatch):
    """Each would come to another result."""
    fixed(monkeypatch, *(["bf16", "fp32"] * 8))
    for _ in range(3):
        for path in choices(folder):
            path.unlink()
        with ThreadPoolExecutor(4) as pool:
            found = set(pool.map(lambda _: choose(folder, model, engine="torch"), range(4)))
        assert len(found) == 1


def test_a_choice_that_lost_does_not_replace_the_one_that_is_there(folder, tmp_path):
    path = tmp_path / "predictions" / ".choice.json"
    choose_engine_module._keep(path, {"engine": "torch"})
    choose_engine_module._keep(path, {"engine": "openvino"})
    assert json.loads(path.read_text()) == {"engine": "torch"}
    assert choices(folder) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"engine": "torch"}', "\xff"])
def test_a_damaged_choice_is_explained(folder, model, monkeypatch, text):
    fixed(monkeypatch, "bf16")
    choose(folder, model, engine="torch")
    (path,) = choices(folder)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedDataError, match=r"\.choice-.*-torch-auto\.json is not readable .* Delete it"):
        choose(folder, model, engine="torch")


def test_it_is_really_timed(folder, model):
    engine, precision = choose(folder, model, engine="torch")
    assert (engine, precision) in (("torch", "fp32"), ("torch", "bf16"))
    (path,) = choices(folder)
    assert all(0 < seconds < 60 for seconds in json.loads(path.read_text())["seconds"].values())


def test_a_job_that_finds_the_choice_made_does_not_load_torch(folder, model, monkeypatch):
    fixed(monkeypatch, "bf16")
    choose(folder, model, engine="torch")
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from slideunet.network.inference.choose_engine import choose_engine\n"
        f"model, folder = Path({str(model)!r}), Path({str(folder)!r})\n"
        "facts = json.loads((model / 'model.json').read_text())\n"
        "asked = {'engine': 'torch', 'precision': 'auto', 'heads': (), 'threads': 1, 'pixels': 1}\n"
        "print(choose_engine(folder, model, facts, **asked))\n"
        "print('torch' in sys.modules, 'openvino' in sys.modules)"
    )
    library = str(Path(slideunet.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": library}, capture_output=True, text=True, check=True
    )
    assert run.stdout == "('torch', 'bf16')\nFalse False\n"
