"""A line now and then about what takes long: who watches a machine that is lent must see that it works."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
LINE_SECONDS = 10.0


def with_lines(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yield items, and say every ten seconds how many of them there were."""
    last = time.perf_counter()
    for number, item in enumerate(items, start=1):
        yield item
        if time.perf_counter() - last >= LINE_SECONDS:
            logging.info(f"{what}: {number} of {total}")
            last = time.perf_counter()
