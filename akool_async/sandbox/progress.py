"""How far a job says it is: the ways in which servers report progress, from honest to useless.

A shape turns the true fraction of the work done, and a quirk of the job between 0 and 1, into the
number shown. No shape ever goes back. Nothing here knows about jobs or time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

__all__ = ["SHAPES", "ShapeName", "shown", "shown_while_queued"]

ShapeName: TypeAlias = Literal["linear", "stall", "coarse", "front", "liar", "none"]
_STANDSTILL: Final = 0.15


def _linear(fraction: float, quirk: float) -> int:
    return int(99 * fraction ** (0.9 + 0.2 * quirk))


def _stall(fraction: float, quirk: float) -> int:
    begin = 0.15 + 0.5 * quirk
    if begin < fraction < begin + _STANDSTILL:
        fraction = begin
    return min(95, max(5, 5 * int(20 * fraction ** (0.8 + 0.4 * quirk))))


def _coarse(fraction: float, quirk: float) -> int:
    first, second = 0.2 + 0.2 * quirk, 0.6 + 0.2 * quirk
    if fraction < first:
        return 10
    return 40 if fraction < second else 80


def _front(fraction: float, quirk: float) -> int:
    return int(99 * fraction ** (0.25 + 0.1 * quirk))


def _liar(fraction: float, quirk: float) -> int:
    return min(99, int(99 * fraction / (0.45 + 0.1 * quirk)))


SHAPES: Final[Mapping[ShapeName, Callable[[float, float], int] | None]] = {
    "linear": _linear,
    "stall": _stall,
    "coarse": _coarse,
    "front": _front,
    "liar": _liar,
    "none": None,
}


def shown(shape: ShapeName, fraction: float, quirk: float) -> int | None:
    """Return the percentage shown at a fraction of the work, None when nothing is shown."""
    rule = SHAPES[shape]
    return None if rule is None else rule(min(max(fraction, 0.0), 1.0), quirk)


def shown_while_queued(shape: ShapeName) -> int | None:
    """Return the percentage shown before the work begins, None when nothing is shown."""
    if shape == "none":
        return None
    return 5 if shape == "stall" else 0
