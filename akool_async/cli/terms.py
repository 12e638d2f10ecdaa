"""On which terms a command spends, waits and tells: the options that all such commands share."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number


@Parameter(name="*", group="Terms")
@attrs.frozen(kw_only=True)
class Terms:
    """Options of every command that may pay for jobs or waits for them.

    Attributes:
        yes: Spend without asking. Needed where there is no terminal to ask on.
        max_credits: What the jobs in the journal may cost together, earlier ones included.
        give_up_after: How long to wait, such as 90m or 2h. What is at work then goes on at the vendor.
        captionless: Bring home videos without burnt-in captions too, where the vendor made them.
        as_json: Write events to stdout, one JSON object a line.
    """

    yes: Annotated[bool, Parameter(negative="")] = False
    max_credits: Annotated[float | None, Parameter(validator=Number(gt=0))] = None
    give_up_after: timedelta | None = None
    captionless: Annotated[bool, Parameter(negative="")] = False
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False

    @property
    def patience(self) -> float | None:
        """Seconds after which it is left; None waits as long as it takes."""
        return None if self.give_up_after is None else self.give_up_after.total_seconds()


ON_ASKING: Final = Terms()
"""What holds without options."""
