"""Random walks of a whole batch in virtual time; the seed of a walk that breaks a rule is printed.

AKOOL_TEST_SEEDS sets how many walks there are, AKOOL_TEST_STRIDE how many steps lie between two cuts.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.batch.simulation import cut, simulate

SEEDS = int(os.environ.get("AKOOL_TEST_SEEDS", "100"))
STRIDE = int(os.environ.get("AKOOL_TEST_STRIDE", "1"))
GROUPS = 8


@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", range(GROUPS))
def test_no_walk_breaks_a_rule(group: int) -> None:
    chance = random.Random()
    for _ in range(-(-SEEDS // GROUPS)):
        seed = chance.randrange(2**32)
        try:
            simulate(seed)
        except BaseException:
            print(f"python -m tests.batch.simulation {seed} 1")
            raise


@pytest.mark.parametrize("first", range(0, 160, 20))
def test_a_batch_cancelled_at_any_step_loses_nothing_and_pays_nothing_twice(first: int) -> None:
    for steps in range(first, first + 20, STRIDE):
        cut(steps)
