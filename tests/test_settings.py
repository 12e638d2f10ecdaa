"""Numbers of public settings: one out of its range is refused where it is given, by name, with one error."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest

from akool_async._batch import open_batch
from akool_async._client import AkoolClient
from akool_async._model.errors import ConfigurationError
from akool_async._model.media import Limits
from akool_async._polling.adaptive import LearnedSchedule
from akool_async._polling.schedules import BackoffSchedule, FixedSchedule
from akool_async._retry import RetryBudget, RetryPolicy
from akool_async._storage import Storage
from akool_async.captions import CaptionLimits
from akool_async.ledger import open_ledger
from akool_async.webhook import WebhookReceiver
from akool_async.workers.settings import WorkerSettings

Maker = Callable[..., Any]

new_client: Final = partial(AkoolClient, api_key="key")
batch: Final = partial(open_batch, new_client(), [])
ledger: Final = partial(open_ledger, "postgresql://someone@127.0.0.1/none")
receiver: Final = partial(WebhookReceiver, client_id="someone", client_secret="s" * 16)
worker: Final = partial(WorkerSettings, name="one", into="results")

NO_NUMBER: Final = (math.nan, math.inf, -math.inf, "5", [], True, 10**400)
NOT_POSITIVE: Final = (0, -1.0)
NOT_COUNTED: Final = (0, -1, 1.5, 2.0)
NEGATIVE: Final = (-1, -0.5)

RANGES: Final[tuple[tuple[Maker, dict[str, tuple[float, ...]]], ...]] = (
    (
        RetryPolicy,
        {
            "attempts": NOT_COUNTED,
            "initial_delay": NOT_POSITIVE,
            "multiplier": (0.99, 0, -2),
            "max_delay": NOT_POSITIVE,
            "deadline": NOT_POSITIVE,
            "throttle_initial_delay": NOT_POSITIVE,
            "throttle_deadline": NOT_POSITIVE,
        },
    ),
    (RetryBudget, {"capacity": NOT_POSITIVE, "refill_amount": NOT_POSITIVE}),
    (
        BackoffSchedule,
        {
            "initial_delay": NOT_POSITIVE,
            "multiplier": (0.5,),
            "max_delay": (0, -1, 1.9),
            "eagerness": (0, -0.1, 1.01),
            "jitter": (-0.1, 1, 1.5),
        },
    ),
    (FixedSchedule, {"interval": NOT_POSITIVE, "jitter": (-0.1, 1.0)}),
    (LearnedSchedule, {"lag": NOT_POSITIVE}),
    (
        new_client,
        {"timeout": NOT_POSITIVE, "connect_timeout": NOT_POSITIVE, "create_timeout": NOT_POSITIVE},
    ),
    (
        batch,
        {
            "max_in_flight": NOT_COUNTED,
            "backlog": (*NOT_COUNTED, 3),
            "retry_transient": (-1, 1.5),
            "max_credits": NOT_POSITIVE,
            "max_doubts": NOT_COUNTED,
            "max_submits": NOT_COUNTED,
            "max_downloads": NOT_COUNTED,
            "webhook_grace": NEGATIVE,
        },
    ),
    (
        Limits,
        {
            "max_seconds": NOT_POSITIVE,
            "max_bytes": NOT_COUNTED,
            "warn_fps": NOT_POSITIVE,
            "max_fps": NOT_POSITIVE,
            "read_limit": NOT_COUNTED,
            "timeout": NOT_POSITIVE,
            "at_once": NOT_COUNTED,
        },
    ),
    (Storage, {"spool_bytes": NOT_COUNTED}),
    (ledger, {"max_credits": NEGATIVE, "max_in_flight": NOT_COUNTED}),
    (
        worker,
        {
            "most": NOT_COUNTED,
            "starts_per_minute": NOT_COUNTED,
            "grace": NEGATIVE,
            "stop_after": NOT_POSITIVE,
        },
    ),
    (
        receiver,
        {
            "max_clock_skew": NOT_POSITIVE,
            "queue_size": NOT_COUNTED,
            "max_body_bytes": NOT_COUNTED,
            "replay_cache_size": NOT_COUNTED,
        },
    ),
    (
        CaptionLimits,
        {
            "max_speed": NOT_POSITIVE,
            "max_line": NOT_POSITIVE,
            "max_lines": NOT_COUNTED,
            "min_seconds": NEGATIVE,
            "max_seconds": NOT_POSITIVE,
            "min_gap": NEGATIVE,
        },
    ),
)
SETTINGS: Final = [(make, name, wrong) for make, ranges in RANGES for name, wrong in ranges.items()]
UNBOUNDED: Final = [(ledger, "max_credits", math.inf)]
"""Where infinity is a value."""


@pytest.mark.parametrize(("make", "name", "wrong"), SETTINGS)
def test_a_number_out_of_its_range_is_refused_by_name(
    make: Maker, name: str, wrong: tuple[float, ...]
) -> None:
    for value in wrong:
        with pytest.raises(ConfigurationError, match=rf"^{name} must .* not {value}") as caught:
            make(**{name: value})

        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("make", "name", "wrong"), SETTINGS)
def test_what_is_no_finite_number_is_refused_by_name(
    make: Maker, name: str, wrong: tuple[float, ...]
) -> None:
    for value in NO_NUMBER:
        if (make, name, value) in UNBOUNDED:
            continue
        with pytest.raises(ConfigurationError, match=f"^{name} must ") as caught:
            make(**{name: value})

        assert len(str(caught.value)) < 600


@pytest.mark.parametrize(("make", "ranges"), RANGES)
def test_each_number_of_a_setting_has_a_range(make: Maker, ranges: dict[str, tuple[float, ...]]) -> None:
    parameters = inspect.signature(make).parameters.values()
    numbers = {one.name for one in parameters if re.fullmatch(r"(int|float)( \| None)?", str(one.annotation))}

    assert set(ranges) == numbers
