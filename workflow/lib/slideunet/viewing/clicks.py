"""What a click or a key does to the state of the viewer: from one JSON state to the next."""

from collections.abc import Mapping
from typing import Any

from slideunet.viewing.state import CELLS, CHOSEN, ERRORS

_State = dict[str, Any]
_CLOSE = 0.5  # Pixels of the screen per pixel of the slide, the other way round: cells and outlines are seen.


def cell_under_pointer(action: Mapping[str, Any]) -> int | None:
    """Return the cell that the pointer is on, from what the browser sends; None beside cells."""
    value = action.get("selectedValues", {}).get(CELLS, {}).get("value")
    if isinstance(value, Mapping):
        value = value.get("key")
    return int(value) if value is not None and int(value) > 0 else None


def with_chosen_cell(state: _State, layer: Mapping[str, Any]) -> _State:
    """Return the state with the layer of a chosen cell (`state.chosen_cell`) instead of an earlier one."""
    others = [other for other in state["layers"] if other["name"] != CHOSEN]
    chosen = {"annotationId": layer["annotations"][0]["id"]}
    selection = {"layers": {CHOSEN: chosen}, "visible": True}
    return state | {"layers": [*others, layer], "selection": selection}


def chosen_error(state: _State) -> str | None:
    """Return the id of the error that is chosen in the list or in the picture."""
    selected = state.get("selection", {}).get("layers", {}).get(ERRORS, {})
    return selected.get("annotationId")


def to_chosen_error(state: _State) -> _State:
    """Return the state with the chosen error in the middle, at full zoom."""
    points = {point["id"]: point["point"] for point in _errors(state)}
    point = points.get(chosen_error(state))
    return state if point is None else state | {"position": point, "crossSectionScale": _CLOSE}


def to_next_error(state: _State, step: int = 1) -> _State:
    """Return the state with the error chosen and in the middle that follows in the list."""
    ids = [point["id"] for point in _errors(state)]
    if not ids:
        return state
    now = chosen_error(state)
    place = ids.index(now) + step if now in ids else min(step, 0)
    chosen = {"annotationId": ids[place % len(ids)]}
    return to_chosen_error(state | {"selection": {"layers": {ERRORS: chosen}, "visible": True}})


def _errors(state: _State) -> list[dict[str, Any]]:
    found = [layer["annotations"] for layer in state["layers"] if layer["name"] == ERRORS]
    return found[0] if found else []


class Follower:
    """Tells when another error was chosen than before."""

    def __init__(self) -> None:
        self._last: str | None = None

    def chosen_anew(self, state: _State) -> bool:
        """Return whether an error is chosen that was not at the last call."""
        before, self._last = self._last, chosen_error(state)
        return self._last is not None and self._last != before
