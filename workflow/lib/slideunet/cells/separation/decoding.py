"""Post-processing of predicted maps to cells: methods, the maps that each needs, and settings."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slideunet.errors import InputError
from slideunet.model_json import HEADS, Head, model_maps

Method = Literal["distance", "centres", "watershed", "components"]

NEEDED: dict[Method, tuple[str, ...]] = {
    "distance": HEADS["distance"],
    "centres": HEADS["centres"],
    "watershed": (),
    "components": (),
}
"""The maps that each method needs besides the foreground, the generally best method first."""

# A smaller difference in AP@0.5 is noise: on 50 images of DSB2018 two methods changed places by as much.
_NEGLIGIBLE_AP50 = 0.01


@dataclass(frozen=True)
class Decoding:
    """Settings of the post-processing; see `cells.separation.separate`.

    Attributes
    ----------
    threshold : float
        Foreground is probability >= threshold, in (0, 1); see `separate.foreground_cut`.
    method : "components", "watershed", "distance" or "centres"
    min_area : int
        In pixels. Smaller cells are removed, and smaller holes are filled first, because a hole creates a
        false valley in the distance. (On 60 images of BBBC038, filling gaps between true cells costs 0.005 of
        AP; not filling costs 0.14 if one pixel in a thousand is missing.)
    merge_ratio : float or None
        A watershed merges two basins if their saddle is at least this fraction of the lower peak; None is the
        default of `separate.MERGE_RATIOS`. Unused by other methods.
    min_probability : float
        Cells with a lower mean foreground probability, in [0, 1), are removed: improbable cells are mostly
        false positives (like the probability threshold of StarDist, Schmidt et al. 2018, arXiv:1806.03535).
    """

    threshold: float
    method: Method
    min_area: int = 10
    merge_ratio: float | None = None
    min_probability: float = 0.0


def decoding_for(
    facts: Mapping[str, Any],
    *,
    threshold: float | Literal["tuned"] = "tuned",
    method: Method | Literal["auto"] = "auto",
    min_area: int = 10,
    min_probability: float | Literal["tuned"] = "tuned",
) -> Decoding:
    """Return the decoding for a model.

    Parameters
    ----------
    facts : mapping
        `model.json` of the model.
    threshold, method, min_area, min_probability
        As in the configuration; "tuned" and "auto" are the best values on the validation slides. Models of
        earlier versions were not tuned: no cell is removed for its probability.

    Raises
    ------
    InputError
        If the model lacks maps that the method needs.
    """
    chosen = method_for(method, facts)
    tuned = facts.get("decodings", {}).get(chosen, {})
    return Decoding(
        threshold=float(facts["threshold"] if threshold == "tuned" else threshold),
        method=chosen,
        min_area=min_area,
        merge_ratio=tuned.get("merge_ratio"),
        min_probability=float(
            tuned.get("min_probability", 0.0) if min_probability == "tuned" else min_probability
        ),
    )


def method_for(method: Method | Literal["auto"], facts: Mapping[str, Any]) -> Method:
    """Return the separation method for a model, given its `model.json`.

    "auto" is the first of `fitting_methods` that was as good as the best one on the validation slides (see
    `network.training.tune_cells.compare_methods`); without such scores it is simply the first.

    Raises
    ------
    InputError
        If the model lacks maps that the method needs.
    """
    fitting = fitting_methods(model_maps(facts))
    if method == "auto":
        scores = {name: facts.get("decodings", {}).get(name, {}).get("ap50", 0.0) for name in fitting}
        return next(name for name in fitting if scores[name] >= max(scores.values()) - _NEGLIGIBLE_AP50)
    if method not in fitting:
        raise InputError(
            f"cells.method is {method}, but the model was trained without the maps that it needs "
            f"({', '.join(NEEDED[method])}). Choose {', '.join(fitting)} or auto, or train with model.heads."
        )
    return method


def fitting_methods(maps: Collection[str]) -> list[Method]:
    """Return the methods for which these maps suffice, the generally best one first."""
    return [method for method, needed in NEEDED.items() if set(needed) <= set(maps)]


def heads_for(method: Method) -> tuple[Head, ...]:
    """Return the output heads of a model that a method needs."""
    return tuple(head for head, maps in HEADS.items() if NEEDED[method] and set(maps) <= set(NEEDED[method]))
