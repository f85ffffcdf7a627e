"""The methods that make cells of a prediction, and what of the network each of them needs."""

from collections.abc import Collection
from typing import Literal

from slideunet.errors import InputError
from slideunet.network.facts import HEADS, Head

Method = Literal["distance", "centres", "watershed", "components"]

# What each method needs besides the foreground, the best method first.
NEEDED: dict[Method, tuple[str, ...]] = {
    "distance": HEADS["distance"],
    "centres": HEADS["centres"],
    "watershed": (),
    "components": (),
}


def choose_method(asked: Method | Literal["auto"], maps: Collection[str]) -> Method:
    """Return the method to use with these maps: for "auto" the best one that they allow.

    Raises
    ------
    InputError
        When the method that is asked for needs maps that the model does not give.
    """
    fitting = [method for method, needed in NEEDED.items() if set(needed) <= set(maps)]
    if asked == "auto":
        return fitting[0]
    if asked not in fitting:
        raise InputError(
            f"cells.method is {asked}, and the model has not learned the maps that it needs "
            f"({', '.join(NEEDED[asked])}). Choose {', '.join(fitting)} or auto, or train with model.heads."
        )
    return asked


def heads_for(method: Method) -> tuple[Head, ...]:
    """Return the heads of a model that give what a method needs."""
    return tuple(head for head, maps in HEADS.items() if NEEDED[method] and set(maps) <= set(NEEDED[method]))
