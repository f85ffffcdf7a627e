import errno
import logging
import warnings

import pytest

from slideunet.errors import DamagedDataError, InputError, MachineError
from slideunet.logs import log_to, progress_line


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


def test_messages_go_to_the_file_and_to_the_terminal(log, capfd):
    with log_to(str(log)):
        logging.info("3 of 4 µm")
        warnings.warn("careful", stacklevel=1)
    assert "INFO 3 of 4 µm" in log.read_text("utf-8")
    assert "careful" in log.read_text("utf-8")
    assert "3 of 4 µm\n" in capfd.readouterr().err
    assert not log.with_name("job.log.exit").exists()


@pytest.mark.parametrize(("kind", "code"), [(InputError, 2), (DamagedDataError, 3)])
def test_a_user_error_shows_its_messages_only(log, capfd, kind, code):
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


def test_a_new_run_replaces_the_last_log(log):
    with pytest.raises(SystemExit), log_to(log):
        raise InputError("old problem")
    with log_to(log):
        logging.info("all well")
    assert not log.with_name("job.log.exit").exists()
    assert "old problem" not in log.read_text()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full. Finished work is kept"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full."),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission is missing."),
        (OSError(errno.EROFS, "Read-only file system"), "Permission is missing."),
        (OSError(errno.EIO, "Input/output error"), "The operating system reported an error."),
        (MemoryError("40 GB"), "Memory ran out."),
    ],
)
def test_errors_of_the_operating_system_have_a_remedy(log, capfd, error, remedy):
    with pytest.raises(SystemExit) as end, log_to(log):
        raise error
    assert end.value.code == MachineError.exit_code == 4
    assert log.with_name("job.log.exit").read_text() == "4\n"
    assert "Traceback" in log.read_text()
    terminal = capfd.readouterr().err
    assert remedy in terminal
    assert len(terminal.splitlines()) == 1


def test_progress_is_logged_in_lines_that_start_with_its_label(log):
    with log_to(log), progress_line(3_000_000, unit="px", done=1_000_000, label="S1") as bar:
        bar.start_t -= 20.0  # as if it had started earlier: short work logs nothing
        bar.update(500_000)
        bar.update(1_500_000)
    lines = [line.split(" INFO ")[1] for line in log.read_text().splitlines()]
    assert all(line.startswith("S1: ") for line in lines)
    assert "3.00M/3.00M" in lines[-1] and "px/s" in lines[-1]
    assert "\r" not in log.read_text()


def test_short_work_logs_no_progress(log):
    with log_to(log), progress_line(3, unit="block") as bar:
        bar.update(3)
    assert log.read_text() == ""
