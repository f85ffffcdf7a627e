"""Style of all figures, and their encoding as SVG data URIs and PNG files, without pyplot's global state."""

import base64
import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#7A7A7A"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "slideunet",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}


def svg_uri(figure: Figure) -> str:
    """Return a figure as an SVG data URI."""
    svg = encode(figure, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def encode(figure: Figure, kind: str) -> bytes:
    """Encode a figure as "svg", without a background of its own, or "png", reproducibly."""
    buffer = io.BytesIO()
    svg = kind == "svg"
    # Ticks and ids are created only now, so the style is needed here, too.
    with mpl.rc_context(STYLE):
        figure.savefig(
            buffer, format=kind, dpi=150, transparent=svg, metadata={"Date": None} if svg else None
        )
    return buffer.getvalue()
