"""What came to a receiver, as numbers: pulled when somebody wants to know them."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class ReceiverStatistics:
    """A receiver at one moment; all but `waiting` are counted since it was made.

    Attributes:
        taken: bodies that were answered with 200 and put in line.
        waiting: of these, how many were not looked at yet.
        told: callbacks that were handed on.
        repeated: contents that had been handed on before.
        malformed: bodies that were no envelope, or too large.
        wrong_signature: bodies signed for another client id.
        stale: bodies from outside the freshness window.
        unreadable: bodies whose content could not be opened.
        turned_away: bodies answered with 503, because the line was full or the receiver not open.
        unwritten: times that callbacks could not be written to the inbox; they are tried again.
    """

    taken: int = 0
    waiting: int = 0
    told: int = 0
    repeated: int = 0
    malformed: int = 0
    wrong_signature: int = 0
    stale: int = 0
    unreadable: int = 0
    turned_away: int = 0
    unwritten: int = 0
