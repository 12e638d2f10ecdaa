"""The account's credits: what can be spent, what is locked for jobs at work, what is gone.

available + locked + spent is what was ever paid in, at every moment. Not thread-safe by itself:
the engine, its one owner, holds the lock.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from akool_async.sandbox.refusal import Refused

__all__ = ["Account", "Credits", "Movement", "MovementKind"]

MovementKind: TypeAlias = Literal["locked", "deducted", "released"]


@attrs.frozen(kw_only=True)
class Credits:
    """The account at one moment."""

    paid_in: float
    available: float
    locked: float
    spent: float


@attrs.frozen
class Movement:
    """One change of the account for one job."""

    at: float
    job_id: str
    kind: MovementKind
    amount: float


class Account:
    """The credits of the one customer.

    Args:
        paid_in: The credits at the start.
    """

    def __init__(self, paid_in: float) -> None:
        """Open the account."""
        self._paid_in = paid_in
        self._available = paid_in
        self._locked = 0.0
        self._spent = 0.0
        self.movements: list[Movement] = []

    @property
    def credits(self) -> Credits:
        """The account now."""
        return Credits(
            paid_in=self._paid_in, available=self._available, locked=self._locked, spent=self._spent
        )

    @property
    def available(self) -> float:
        """What new jobs can be paid with."""
        return self._available

    def pay_in(self, amount: float) -> None:
        """Add credits."""
        self._paid_in += amount
        self._available += amount

    def check(self, amount: float) -> None:
        """Refuse what can't be paid: 1006 when nothing is left, 1104 when it is too little.

        Unconfirmed: which of the two the vendor answers when.
        """
        if amount > self._available:
            code = 1006 if self._available <= 0 else 1104
            raise Refused(code, f"the job takes {amount} credits, {self._available} are left")

    def lock(self, job_id: str, amount: float, at: float) -> None:
        """Set credits aside for a new job."""
        self._available -= amount
        self._locked += amount
        self.movements.append(Movement(at, job_id, "locked", amount))

    def deduct(self, job_id: str, amount: float, at: float) -> None:
        """Spend the credits of a completed job."""
        self._locked -= amount
        self._spent += amount
        self.movements.append(Movement(at, job_id, "deducted", amount))

    def release(self, job_id: str, amount: float, at: float) -> None:
        """Give the credits of a failed job back."""
        self._locked -= amount
        self._available += amount
        self.movements.append(Movement(at, job_id, "released", amount))
