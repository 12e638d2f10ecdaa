"""A vendor for each test, and a customer of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vendor.judge import Evidence, judge
from tests.vendor.program import Customer
from tests.vendor.server import Vendor

KEY = "canary-4f9c1b7e2a"


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    with Vendor(tmp_path, key=KEY) as vendor:
        yield vendor


@pytest.fixture
def customer(vendor: Vendor, tmp_path: Path) -> Customer:
    return Customer(vendor, tmp_path, KEY)


def evidence_of(customer: Customer, **more: object) -> Evidence:
    return Evidence(
        ledger=customer.vendor.ledger.path,
        journal=customer.journal,
        out=customer.out,
        told=customer.told,
        shown=customer.shown,
        secret=KEY,
        **more,  # type: ignore[arg-type]
    )


def violations(customer: Customer, **more: object) -> list[str]:
    return judge(evidence_of(customer, **more))
