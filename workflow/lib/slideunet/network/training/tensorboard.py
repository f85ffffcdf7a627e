"""The history of a training for TensorBoard, if the optional package `tensorboard` is installed."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

WriteRow = Callable[[Mapping[str, float]], None]


@contextlib.contextmanager
def events(folder: Path, epoch: int, *, wanted: bool = True) -> Iterator[WriteRow]:
    """Open the event files of a training.

    Parameters
    ----------
    folder : Path
        Whose parents TensorBoard is started with: `tensorboard --logdir results/seeds/state`.
    epoch : int
        Last finished epoch; events of later epochs from an interrupted run are removed.
    wanted : bool
        Whether this process writes.

    Yields
    ------
    callable
        Writes a row of the history; does nothing without the package.
    """
    if not wanted or importlib.util.find_spec("tensorboard") is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=epoch + 1) as writer:

        def write(row: Mapping[str, float]) -> None:
            for name in row.keys() - {"epoch"}:
                writer.add_scalar(name, row[name], int(row["epoch"]))
            writer.flush()

        yield write
