"""A webhook as the rest of the package sees it: which job, under which token, and who wants to hear of it.

It is not believed anywhere: whoever hears of it asks the API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs

from akool_async._core.models import Status

_AT_WORK: Final = frozenset({Status.QUEUEING, Status.PROCESSING})


@attrs.frozen(kw_only=True)
class Callback:
    """What one webhook claims, without its secrets.

    Attributes:
        job_id: the vendor's id of the job that it is about.
        token: the unguessable part of the URL that it came to, or "".
        status: the vendor's number for where the job is, None if it did not say.
        repeated: whether the same was said before, under another token.
    """

    job_id: str
    token: str = attrs.field(default="", repr=False)
    status: int | None = None
    repeated: bool = False

    @property
    def at_work(self) -> bool:
        """Whether it says that the job goes on, so that there is no reason to ask about it."""
        return self.status in _AT_WORK

    @property
    def wakes(self) -> bool:
        """Whether it is a reason to ask about the job."""
        return not (self.at_work or self.repeated)


class Listener(Protocol):
    """Wants to hear of callbacks."""

    def called_back(self, callback: Callback) -> None:
        """Take one in; must neither wait nor raise."""
        ...


class CallbackSource(Protocol):
    """Where callbacks come from: a receiver in this process, or an inbox that one writes."""

    def attach(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of each callback from now on; give what ends that."""
        ...

    def find(self, token: str) -> tuple[Callback, ...]:
        """Give the callbacks that came with a token so far, as far as they are remembered."""
        ...
