"""Runs in virtual time in which a seed decides everything, also the order in which tasks take turns."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple
from unittest import mock

import trio
import trio.testing

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


def run(main: Callable[[*Ts], Awaitable[T]], *arguments: *Ts, seed: int) -> T:
    """Run a coroutine function; time passes when nothing else can happen."""
    with mock.patch.multiple(trio._core._run, _ALLOW_DETERMINISTIC_SCHEDULING=True, _r=random.Random(seed)):
        return trio.run(main, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))
