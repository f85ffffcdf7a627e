"""The methods that make cells of a prediction, and what of the network each of them needs."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from slideunet.errors import InputError
from slideunet.model_json import HEADS, Head, model_maps

Method = Literal["distance", "centres", "watershed", "components"]

# What each method needs besides the foreground, the best method first.
NEEDED: dict[Method, tuple[str, ...]] = {
    "distance": HEADS["distance"],
    "centres": HEADS["centres"],
    "watershed": (),
    "components": (),
}


# So much less AP@0.5 is no difference: two methods on 50 images of DSB2018 changed places by as much.
_AS_GOOD = 0.01


def fitting_methods(maps: Collection[str]) -> list[Method]:
    """Return the methods that these maps of a network allow, the best in general first."""
    return [method for method, needed in NEEDED.items() if set(needed) <= set(maps)]


def choose_method(
    asked: Method | Literal["auto"],
    maps: Collection[str],
    tried: Mapping[str, Mapping[str, float]] | None = None,
) -> Method:
    """Return the method to use with these maps.

    Parameters
    ----------
    asked : Method or "auto"
        "auto" is the first of `fitting_methods` that was as good on the validation slides as the best one.
    maps : collection of str
        Of the network.
    tried : mapping, optional
        What `network.training.tune_cells.compare_methods` found; without it "auto" is the first that fits.

    Raises
    ------
    InputError
        When the method that is asked for needs maps that the model does not give.
    """
    fitting = fitting_methods(maps)
    if asked == "auto":
        scores = {method: (tried or {}).get(method, {}).get("ap50", 0.0) for method in fitting}
        return next(method for method in fitting if scores[method] >= max(scores.values()) - _AS_GOOD)
    if asked not in fitting:
        raise InputError(
            f"cells.method is {asked}, and the model has not learned the maps that it needs "
            f"({', '.join(NEEDED[asked])}). Choose {', '.join(fitting)} or auto, or train with model.heads."
        )
    return asked


def method_for(asked: Method | Literal["auto"], facts: Mapping[str, Any]) -> Method:
    """Return the method to use with a model, given its `model.json`; see `choose_method`."""
    return choose_method(asked, model_maps(facts), facts.get("decodings"))


def heads_for(method: Method) -> tuple[Head, ...]:
    """Return the heads of a model that give what a method needs."""
    return tuple(head for head, maps in HEADS.items() if NEEDED[method] and set(maps) <= set(NEEDED[method]))
