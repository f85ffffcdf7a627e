"""Shaders of Neuroglancer's image layers, with their controls; the language is GLSL ES 3.00.

https://github.com/google/neuroglancer/blob/master/src/sliceview/image_layer_rendering.md
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SHOWN_CHANNELS = 4
"""Channels that are switched on at first; each further one can be."""
_RGB = ("#ff0000", "#00ff00", "#0000ff")
_COLOURS = ("#0080ff", "#00ff00", "#ff2020", "#ff00ff", "#ffff00", "#00ffff", "#ff8000", "#ffffff")

PROBABILITY = """\
#uicontrol float least slider(min=0, max=1, default=0.1)
void main() {
  float probability = toNormalized(getDataValue(0));
  if (probability < least) { emitTransparent(); return; }
  emitRGBA(vec4(colormapJet(probability), 1.0));
}
"""

# A pixel of a cell is outline where one of its four neighbours is not of the cell. Neighbours beyond the
# chunk are not known there, and count as the cell's own.
_OUTLINES = """\
#uicontrol vec3 colour color(default="%s")
uint cellAt(ivec3 place) {
  return getDataValueAt(clamp(place, ivec3(0), ivec3(uChunkDataSize) - 1)).value;
}
void main() {
  ivec3 here = ivec3(floor(vChunkPosition));
  uint cell = cellAt(here);
  bool edge = cell != cellAt(here + ivec3(1, 0, 0)) || cell != cellAt(here - ivec3(1, 0, 0))
    || cell != cellAt(here + ivec3(0, 1, 0)) || cell != cellAt(here - ivec3(0, 1, 0));
  if (cell == 0u || !edge) { emitTransparent(); return; }
  emitRGB(colour);
}
"""


def outlines_shader(colour: str) -> str:
    """Return the shader that draws a label image as outlines of one pixel in a colour such as "#ffd000"."""
    return _OUTLINES % colour


def channels_shader(facts: Mapping[str, Any]) -> str:
    """Return the shader that adds the channels of an image, each with contrast, colour and a switch.

    Parameters
    ----------
    facts : mapping
        The manifest of the image: `channels`, `dtype`, `statistics`, for colour images `white`.
    """
    names: Sequence[str] = facts["channels"]
    rgb = list(names) == ["red", "green", "blue"]
    controls, terms = [], []
    for number, name in enumerate(names):
        own = f"c{number}_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')}".rstrip("_")
        colour = _RGB[number] if rgb else "#ffffff" if len(names) == 1 else _COLOURS[number % len(_COLOURS)]
        shown = "true" if rgb or number < SHOWN_CHANNELS else "false"
        controls += [
            f"#uicontrol invlerp {own}({_window(facts, number, rgb)}, channel={number})",
            f'#uicontrol vec3 {own}_colour color(default="{colour}")',
            f"#uicontrol bool {own}_shown checkbox(default={shown})",
        ]
        terms.append(f"  if ({own}_shown) sum += {own}_colour * {own}();")
    return "\n".join(
        [*controls, "void main() {", "  vec3 sum = vec3(0.0);", *terms, "  emitRGB(sum);", "}\n"]
    )


def _window(facts: Mapping[str, Any], channel: int, rgb: bool) -> str:
    """Return the values from black to white, and those that the control offers."""
    statistics, dtype = facts["statistics"][channel], np.dtype(facts["dtype"])
    low, high, least, most = (statistics[key] for key in ("low", "high", "min", "max"))
    if rgb and dtype.kind == "u":
        low, least = 0, 0
        high = most = facts.get("white") or np.iinfo(dtype).max
    kind = float if dtype.kind == "f" else int
    return (
        f"range=[{kind(low)}, {kind(max(high, low + 1))}], "
        f"window=[{kind(min(least, low))}, {kind(max(most, high, low + 1))}]"
    )
