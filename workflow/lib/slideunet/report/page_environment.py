"""What the templates of all pages share: escaping, the format of numbers, and the style."""

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

DASH = "\N{EN DASH}"


def page_environment(room: str) -> Environment:
    """Return an environment for the templates of a room, which escapes all text from outside."""
    environment = Environment(
        loader=PackageLoader("slideunet", room),
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
    environment.globals["style"] = (
        files("slideunet").joinpath("report", "page.css").read_text(encoding="utf-8")
    )
    return environment


def _number(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else f"{value:.{digits}f}"
