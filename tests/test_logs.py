import logging
import warnings

import pytest

from slideunet.errors import DamagedDataError, InputError
from slideunet.logs import log_to


@pytest.fixture(autouse=True)
def logging_as_it_was():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # pytest's own handlers must not be closed by a new configuration.
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "logs" / "job.log"


def test_what_is_said_goes_to_the_file_and_to_the_terminal(log, capfd):
    with log_to(str(log)):
        logging.info("3 of 4 µm")
        warnings.warn("careful", stacklevel=1)
    assert "INFO 3 of 4 µm" in log.read_text("utf-8")
    assert "careful" in log.read_text("utf-8")
    assert "3 of 4 µm\n" in capfd.readouterr().err
    assert not log.with_name("job.log.exit").exists()


@pytest.mark.parametrize(("kind", "code"), [(InputError, 2), (DamagedDataError, 3)])
def test_an_error_of_the_user_shows_its_messages_only(log, capfd, kind, code):
    with pytest.raises(SystemExit) as end, log_to(log):
        raise kind(["slide A: wrong", "slide B: wrong"])
    assert end.value.code == code
    assert log.with_name("job.log.exit").read_text() == f"{code}\n"
    terminal = capfd.readouterr().err
    assert terminal == "slide A: wrong\nslide B: wrong\n"
    assert "Traceback" not in log.read_text()
    assert "slide B: wrong" in log.read_text()


def test_a_bug_leaves_its_traceback_in_the_log_only(log, capfd):
    with pytest.raises(SystemExit) as end, log_to(log):
        {}["absent"]
    assert end.value.code == 5
    assert "Traceback" in log.read_text()
    terminal = capfd.readouterr().err
    assert terminal == f"KeyError: 'absent'. This is a bug; the traceback is in {log}.\n"


def test_a_new_run_forgets_the_last_one(log):
    with pytest.raises(SystemExit), log_to(log):
        raise InputError("old problem")
    with log_to(log):
        logging.info("all well")
    assert not log.with_name("job.log.exit").exists()
    assert "old problem" not in log.read_text()
