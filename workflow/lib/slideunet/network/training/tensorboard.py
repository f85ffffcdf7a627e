"""The history of a training for TensorBoard, which draws it while it grows, several trainings in one picture.

It is written where the package `tensorboard` is installed, which nothing else needs.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Tell = Callable[[Mapping[str, float]], None]


@contextlib.contextmanager
def events(folder: Path, epoch: int, *, wanted: bool = True) -> Iterator[Tell]:
    """Open the events of a training.

    Parameters
    ----------
    folder : Path
        Whose parents TensorBoard is started with: `tensorboard --logdir results/seeds/state`.
    epoch : int
        After which the training goes on; what an earlier run told of later ones is void.
    wanted : bool
        Whether this process is the one that writes.

    Yields
    ------
    callable
        To be given each row of the history. It does nothing without the package.
    """
    if not wanted or importlib.util.find_spec("tensorboard") is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=epoch + 1) as writer:

        def tell(row: Mapping[str, float]) -> None:
            for name in row.keys() - {"epoch"}:
                writer.add_scalar(name, row[name], int(row["epoch"]))
            writer.flush()

        yield tell
