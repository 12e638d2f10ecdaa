"""The answer to a paid POST that the journal could not record: kept, reported, and tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio

from akool_async._batch.post import Post
from akool_async._batch.state import BatchState
from akool_async._journal import EntryUpdate
from akool_async._model.errors import JournalError, JournalReplacedError, JournalWriteError

logger = logging.getLogger("akool_async")

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0
RECORD_WITHIN: Final = 30.0
"""Seconds between tries to record an answer, and until its entries end without that."""


class AnswerRecorder:
    """Commits, as long as the batch lives, what the vendor answered.

    Args:
        state: the batch's.
        follow: called once an answer is in the journal: polls its jobs, ends its other entries.
        end_failed: ends those of a POST's entries that have no job.
    """

    def __init__(
        self, state: BatchState, *, follow: Callable[[Post], None], end_failed: Callable[[Post], None]
    ) -> None:
        self._state = state
        self._follow = follow
        self._end_failed = end_failed

    async def record(self, post: Post, changes: list[EntryUpdate], error: JournalError) -> None:
        """Try again to commit the changes of a POST, which is not followed until that succeeds.

        The ids are in the log from now on. If they can't be written soon, the entries end as in doubt, with
        their ids, and nothing more is submitted; the tries continue.
        """
        named = (job_id for change in changes for job_id in (change.job_id, *(change.doubt_ids or ())))
        ids = ", ".join(filter(None, named)) or "none"
        for entry in post.entries:
            logger.warning(
                "The answer to the paid call for %s (%s) could not be recorded; the jobs in it are: %s. %s",
                *entry.name,
                ids,
                error.message,
            )
        # Another program may hold the file for a moment, or free some space; a lost file rarely comes back.
        brief = isinstance(error, JournalWriteError) and not isinstance(error, JournalReplacedError)
        wait, left_to_wait = FIRST_WAIT, RECORD_WITHIN if brief else 0.0
        ended = recorded = False
        while not recorded:
            if left_to_wait <= 0 and not ended:
                self._end_unrecorded(post, error)
                ended = True
            leaving = True
            try:
                await self._state.clock.sleep(wait)
                leaving = False
            finally:  # also when the batch is left: it is the last chance
                with anyio.CancelScope(shield=True):
                    try:
                        await self._state.journal.record(*changes)
                        recorded = True
                    except JournalError as again:
                        error = again
                if recorded and not ended:
                    self._follow(post)
                elif leaving and not ended:
                    self._end_unrecorded(post, error)
            left_to_wait, wait = left_to_wait - wait, min(2 * wait, LONGEST_WAIT)
        logger.warning("The jobs %s are recorded now.", ids)

    def _end_unrecorded(self, post: Post, error: JournalError) -> None:
        """End entries whose jobs the journal does not know: for the next run they are in doubt, and paid."""
        self._state.stop(error.message, error)
        for entry in post.submitted:
            reason = f"Job {entry.job_id} is paid, but could not be recorded. {error.message}"
            self._state.emit(entry, entry.in_doubt(reason, self._state.clock.now(), (entry.job_id,)))
        self._end_failed(post)
