"""What turns the maps of a prediction into cells, all choices of one labelling together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slideunet.cells.separation.methods import Method, method_for


@dataclass(frozen=True)
class Decoding:
    """How cells are made of maps; see `cells.separation.separate`.

    Attributes
    ----------
    threshold : float
        Foreground is probability >= threshold, in (0, 1); see `separation.foreground_cut`.
    method : "components", "watershed", "distance" or "centres"
    min_area : int
        In pixels. Smaller cells are dropped, and smaller holes are filled first: a hole draws a false valley
        into the distances. (On 60 images of BBBC038, filling gaps between true cells costs 0.005 of AP; not
        filling costs 0.14 when one pixel in a thousand is missing.)
    merge_ratio : float or None
        Two basins of a watershed are one cell when the saddle between them is at least this part of the lower
        peak; None takes that of `separation.MERGE_RATIOS`. Other methods have no use for it.
    min_probability : float
        Cells whose pixels have a lower mean foreground probability, [0, 1), are dropped: what the network is
        not sure of is more often wrong than right (as the probability threshold of StarDist, Schmidt et al.
        2018, arXiv:1806.03535).
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
        As the configuration has them; "tuned" and "auto" are what was best on the validation slides. A model
        of an earlier version, which was not tuned, drops no cell for its probability.

    Raises
    ------
    InputError
        When the method needs maps that the model does not give.
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
