"""What the templates of all pages share: escaping, the format of numbers, style, script and their policy."""

import base64
import hashlib
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

DASH = "\N{EN DASH}"
STYLES, SCRIPT = ("page.css", "modes.css"), "page.js"


def page_environment(room: str) -> Environment:
    """Return an environment for the templates of a room, which escapes all text from outside.

    The policy names style and script by their hash: nothing else is run or applied, whatever is in the page,
    and nothing is loaded from anywhere.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("slideunet", room), PackageLoader("slideunet", "report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "interval": lambda value: DASH if value is None else f"{value[0]:.3f} {DASH} {value[1]:.3f}",
        "count": lambda value: f"{value:,}".replace(",", "\N{THIN SPACE}"),
    }
    style, script = "".join(map(_own, STYLES)), _own(SCRIPT)
    environment.globals |= {"style": style, "script": script, "policy": policy_for(style, script)}
    return environment


def policy_for(style: str, script: str) -> str:
    """Return the content-security policy of a page with this style and this script."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _own(name: str) -> str:
    return files("slideunet").joinpath("report", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _number(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else f"{value:.{digits}f}"
