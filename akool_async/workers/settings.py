"""How one worker works."""

from __future__ import annotations

import os
import re
from typing import Final

import attrs

from akool_async._client import new_token, with_token
from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import safe_repr
from akool_async._model.validators import not_negative, seconds_field, whole_number

_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,49}")


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """How one worker works.

    Attributes:
        name: unique among workers of the account; one that starts again under its name resumes what it had.
        into: folder or bucket for the results, the same for all workers, or each its own.
        most: entries that this worker works on at once, 1 or more.
        starts_per_minute: how many entries all workers together begin in a minute, 1 or more; None for no
            limit.
        webhook_url: where the vendor calls back, without a token.
        grace: seconds for which a doubt waits for its callback, 0 or more.
        adopt: whether work of workers that ended is taken over.
        stop_after: seconds at most that a POST under way may take once the worker is to stop, above 0.

    Raises:
        ConfigurationError: a value is out of its range, the name is not one, or no POST can carry the webhook
            URL.
    """

    name: str
    into: str | os.PathLike[str]
    most: int = attrs.field(default=2_000, validator=whole_number)
    starts_per_minute: int | None = attrs.field(default=None, validator=whole_number.or_none)
    webhook_url: str | None = None
    grace: float = attrs.field(default=120.0, validator=not_negative)
    adopt: bool = False
    stop_after: float = seconds_field(200.0)

    def __attrs_post_init__(self) -> None:
        """Refuse a name that systemd, Kubernetes or Postgres would change or cut: two could become one."""
        if self.webhook_url is not None:
            with_token(self.webhook_url, new_token())  # raises for one that no POST can carry
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"A worker can't be named {safe_repr(self.name)}.",
                advice="Name it with 1 to 50 letters, digits, dots, hyphens or underscores, such as node-1.",
            )
