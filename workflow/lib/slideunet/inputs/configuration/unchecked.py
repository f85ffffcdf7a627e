"""Values of a configuration that was not checked yet, which may have any form."""

from collections.abc import Mapping
from typing import Any


def value_at(config: Mapping[str, Any], *keys: str) -> Any:  # noqa: ANN401 (any YAML value)
    """Return a value by the keys that lead to it; None when it is missing."""
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def text_at(config: Mapping[str, Any], *keys: str) -> str | None:
    """Return a text by the keys that lead to it; None when it is missing or no text."""
    value = value_at(config, *keys)
    return value if isinstance(value, str) else None
