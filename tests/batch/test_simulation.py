"""Random walks of a whole batch in virtual time; the seed of a walk that breaks a rule is printed.

AKOOL_TEST_SEEDS sets how many walks there are.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.batch.simulation import simulate

SEEDS = int(os.environ.get("AKOOL_TEST_SEEDS", "100"))
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
