"""Counts that add up: over blocks, parts, slides and groups, without loss and in any order."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Counts:
    """Base of all counts: dataclasses of numbers and of tuples of numbers, every field zero by default."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(_sum(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read the fields from a JSON object; it may have others."""
        found = {f.name: values[f.name] for f in fields(cls)}
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in found.items()})


def _sum(a: Any, b: Any) -> Any:  # noqa: ANN401 (numbers or tuples of numbers)
    return tuple(x + y for x, y in zip(a, b, strict=True)) if isinstance(a, tuple) else a + b


def ratio(numerator: float, denominator: float, *, empty: bool) -> float:
    """Divide, with 0 / 0 = 1 if there was nothing to find and nothing was found, else 0."""
    return numerator / denominator if denominator else float(empty)
