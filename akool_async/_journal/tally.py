"""How many entries are in each state, and what they cost: kept in memory, moved by every commit.

So that statistics can be pulled at any moment without reading the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from akool_async._core.lifecycle import State

_PARTS: Final = 1_000_000
"""Credits are summed in whole millionths, so that nothing drifts."""

_NOTHING_LOCKED: Final = frozenset({State.PLANNED, State.FAILED})


class Standing(NamedTuple):
    """What an entry adds to the tally."""

    state: State
    locked: float | None = None
    used: float | None = None
    used_before: float = 0.0

    def cost(self) -> tuple[int, int]:
        """Give millionths of credits locked and used: a deduction that is known replaces the lock."""
        used = round(((self.used or 0.0) + self.used_before) * _PARTS)
        if self.used is not None or self.locked is None or self.state in _NOTHING_LOCKED:
            return 0, used
        return round(self.locked * _PARTS), used


class Move(NamedTuple):
    """One entry's step; None stands for not being there."""

    before: Standing | None
    after: Standing | None


class Tally:
    """Counts of states and sums of credits."""

    def __init__(self) -> None:
        self._counts: dict[State, int] = dict.fromkeys(State, 0)
        self._locked = 0
        self._used = 0

    def take(self, moves: Iterable[Move]) -> None:
        """Count committed steps."""
        for before, after in moves:
            if before is not None:
                self._add(before, -1)
            if after is not None:
                self._add(after, 1)

    def _add(self, standing: Standing, times: int) -> None:
        locked, used = standing.cost()
        self._counts[standing.state] += times
        self._locked += times * locked
        self._used += times * used

    @property
    def counts(self) -> Mapping[State, int]:
        """Entries in each state, zeros included."""
        return dict(self._counts)

    @property
    def credits(self) -> tuple[float, float]:
        """Credits locked and used."""
        return self._locked / _PARTS, self._used / _PARTS
