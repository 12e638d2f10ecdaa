"""`--trial`: the cheapest jobs of a plan alone, so that their price is known before the rest is paid."""

from __future__ import annotations

import math

import attrs

from akool_async._model.requests import with_targets
from akool_async.cli.plan import Plan


def trial_of(plan: Plan, jobs: int) -> Plan:
    """Return a plan of the cheapest new jobs alone; what may be refused, or is of unknown price, comes last.

    Args:
        plan: what is to be done.
        jobs: how many of its new jobs, 1 or more.
    """
    paid = [entry for entry in plan.entries if entry.action.is_paid]
    paid.sort(
        key=lambda entry: (
            entry.check is not None and bool(entry.check.warnings),
            math.inf if entry.cost is None else entry.cost,
        )
    )
    entries = tuple(
        attrs.evolve(
            entry,
            item=attrs.evolve(entry.item, request=with_targets(entry.item.request, (entry.target,))),
        )
        for entry in paid[:jobs]
    )
    items = tuple(entry.item for entry in entries)
    return attrs.evolve(
        plan,
        catalog=attrs.evolve(plan.catalog, items=items, rows=len(items), duplicates=()),
        entries=entries,
        estimate=plan.prices.estimate(entry.price for entry in entries),
    )
