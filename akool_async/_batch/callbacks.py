"""Webhooks of a batch: a token in the URL of each POST, and what is done with the callbacks that carry it.

A callback may come before the POST's own answer, late, twice, in any order, or never; each is only a
reason to ask the API.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup, TaskStatus

from akool_async._batch.callback_polling import CallbackPolling
from akool_async._batch.entry import BatchEntry, outcome_from_journal
from akool_async._batch.in_doubt import MOST_FROM_CALLBACKS, DoubtResolver
from akool_async._batch.limits import Changes
from akool_async._batch.state import BatchState
from akool_async._client import new_token, with_token
from akool_async._journal import Entry
from akool_async._model.errors import JournalError
from akool_async._model.events import DoubtEvent
from akool_async._model.requests import Request
from akool_async._model.responses import Callback, CallbackSource
from akool_async._model.states import WITHOUT_RESULT, State
from akool_async._model.validators import implements

logger = logging.getLogger("akool_async")
EXPECTED: Final = 3600.0
"""Seconds after its intent in which a run waits for the callback of an entry that it finds in doubt."""

_source: Final = implements("a WebhookReceiver, or an inbox made by open_inbox", "subscribe", "callbacks_for")


@attrs.frozen(kw_only=True)
class WebhookConfig:
    """The webhook options of a batch.

    Attributes:
        url: where the vendor shall call back, without a token; None leaves it to the requests.
        source: where callbacks come from; None where nobody listens in this run.
        grace: seconds for which an outcome in doubt is held back, because its callback may still come.
    """

    url: str | None = None
    source: CallbackSource | None = None
    grace: float = 120.0

    def __attrs_post_init__(self) -> None:
        """Refuse a URL that no POST can carry, and a source that can't be listened to."""
        if self.source is not None:
            _source.check("callbacks", self.source)
        if self.url is not None:
            with_token(self.url, new_token())  # raises for such a one


class WebhookCoordinator:
    """Sends tokens out for a batch and takes in what comes back."""

    def __init__(self, state: BatchState, webhook: WebhookConfig, polling: CallbackPolling | None) -> None:
        self._state = state
        self._session = state.session
        self._clock = state.clock
        self._journal = state.journal
        self._webhook = webhook
        self._resolver: DoubtResolver | None = None
        self._tasks: TaskGroup | None = None
        self._polling = polling
        self._before_response: dict[str, list[Callback]] = {}
        self._under_way: set[object] = set()
        self._answers = Changes()
        self._doubt_ids: Counter[str] = Counter()
        self._named_late: defaultdict[str, set[str]] = defaultdict(set)
        self.keeping: dict[tuple[str, str], anyio.Event] = {}
        self.doubted_again: set[tuple[str, str]] = set()

    # What goes out.

    def uses_token(self, request: Request) -> bool:
        """Whether this request's POST gets a token: then it has to be for one language alone.

        A callback names a job and no language, so that a token of several would leave open which is which.
        """
        return self._webhook.url is not None and request.webhook_url is None

    @contextmanager
    def submission(self, request: Request) -> Iterator[tuple[str, Request]]:
        """Return the token of a POST, and the request as it is to be sent, while it is under way.

        The request with the token is for the POST alone; what is recorded and handed out lacks it.
        """
        token, addressed, post = "", request, object()
        if self.uses_token(request):
            token = new_token()
            addressed = attrs.evolve(request, webhook_url=with_token(str(self._webhook.url), token))
            self._before_response[token] = []
        # From here on no job may be given to a doubt: this POST's own answer may be about to name it.
        self._under_way.add(post)
        try:
            yield token, addressed
        finally:
            before = self._before_response.pop(token, ())
            self._under_way.remove(post)
            self._answers.notify()
        for callback in before:  # one may name another job than the answer
            self._match(callback)

    @property
    def posts_under_way(self) -> int:
        """How many paid POSTs have begun and are not recorded yet."""
        return len(self._under_way)

    async def _answered(self) -> None:
        """Wait until the POSTs that are under way now have said which jobs are theirs."""
        posts = frozenset(self._under_way)
        while posts & self._under_way:
            await self._answers.wait()

    def finished_before_response(self, token: str, job_id: str) -> bool:
        """Return whether a callback has already reported the job of a POST under way as ended."""
        return any(
            one.job_id == job_id and not one.in_progress for one in self._before_response.get(token, ())
        )

    # What comes back.

    async def listen(self, tasks: TaskGroup) -> None:
        """Listen from now on, until the tasks are cancelled."""
        self._tasks = tasks
        source = self._webhook.source
        if source is not None and self._polling is not None:
            tasks.start_soon(self._polling.watch)
            await tasks.start(self._hear, source)

    async def _hear(self, source: CallbackSource, *, task_status: TaskStatus[None]) -> None:
        # What comes once the tasks have ended can start none: the next run finds it in the inbox.
        unsubscribe = source.subscribe(self)
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            unsubscribe()

    async def load_doubts(self) -> None:
        """Record what earlier runs learned about their doubts: ids, and callbacks that arrived since."""
        source, breaker, found = self._webhook.source, self._state.breaker, False
        with self._state.stop_on_journal_error():
            if source is not None:
                await self._keep_late(source)
            async for entry in self._journal.entries(states=(State.IN_DOUBT,)):
                found = True
                self._doubt_ids.update(entry.doubt_ids)
                for callback in source.callbacks_for(entry.token) if source and entry.token else ():
                    self._doubts.add_from_callback(entry, callback.job_id)
            if found:  # a run that is started again in an outage must not pay for a few doubts each time
                breaker.begin_after(self._journal.count_last_doubts(breaker.limit))

    async def _keep_late(self, source: CallbackSource) -> None:
        """Keep jobs that callbacks have named for POSTs that are over."""
        tokens = {post.token for post in self._journal.earlier_posts()}
        tokens |= {entry.token async for entry in self._journal.entries(states=WITHOUT_RESULT) if entry.token}
        for token in tokens:
            for callback in source.callbacks_for(token):
                entry = self._entry_to_keep(callback, self._journal.find_token(token))
                if entry is not None:
                    await self._keep(entry, callback)

    def on_callback(self, callback: Callback) -> None:
        """Record a callback: it may name the job of a doubt, and makes the client ask sooner."""
        self._match(callback)
        if self._polling is not None:
            self._polling.on_callback(callback)
        self._session.on_callback(callback)

    def _match(self, callback: Callback) -> None:
        """Find the entry of a callback, and what it says about that which the journal does not know."""
        try:
            entry = self._journal.find_token(callback.token) if callback.token else None
            pending = entry is not None and self._is_pending(entry)
            # It came before the POST's own answer. It is kept: should the answer be lost, it names the job.
            if callback.token in self._before_response and not pending:
                self._before_response[callback.token].append(callback)
            elif entry is not None and entry.state is State.IN_DOUBT:
                self._doubts.add_from_callback(entry, callback.job_id)
            elif callback.token and (entry := self._entry_to_keep(callback, entry)) is not None:
                assert self._tasks is not None  # noqa: S101 - it listens
                # From here on it is not sent before this is on disk.
                recorded = self.keeping[entry.key, entry.target] = anyio.Event()
                self._tasks.start_soon(self._keep_now, entry, callback, recorded)
        # A hint is lost, which costs a later poll. But a journal that can't be read must not pay for more.
        except JournalError as error:
            self._state.stop(error.message, error)

    def _entry_to_keep(self, callback: Callback, entry: Entry | None) -> Entry | None:
        """Return the entry of a POST that is over, if the job that a callback names for it is news."""
        if entry is None:
            posts = self._journal.earlier_posts(token=callback.token)
            entry = self._journal.get(posts[0].key, posts[0].target) if posts else None
        if entry is None or callback.job_id == entry.job_id or callback.job_id in entry.doubt_ids:
            return None
        if self._journal.find_job(callback.job_id) is not None:
            return None
        known = self._named_late[callback.token]
        if callback.job_id in known or len(known) == MOST_FROM_CALLBACKS:
            return None
        known.add(callback.job_id)
        return entry

    async def _keep_now(self, entry: Entry, callback: Callback, recorded: anyio.Event) -> None:
        name = (entry.key, entry.target)
        try:
            with self._state.stop_on_journal_error():
                if await self._keep(entry, callback):
                    self._state.budget.count_unknown(name)  # the journal's sum was read before
                self.doubted_again.add(name)
        finally:
            recorded.set()
            if self.keeping.get(name) is recorded:
                del self.keeping[name]

    async def _keep(self, before: Entry, callback: Callback) -> bool:
        """Keep a job that may be paid, though its entry has another one, or was decided otherwise.

        Returns:
            Whether the entry is in doubt now, and was not before.
        """
        name, job_id = (before.key, before.target), callback.job_id
        await self._journal.keep_named_job(callback.token, job_id)
        entry = self._journal.get(*name)
        if entry is None or job_id not in entry.doubt_ids:  # an answer has just named it
            return False
        what = "which is not sent again before it is known whether that is its job."
        if entry.job_id:
            what = f"which has job {entry.job_id}: both may be billed."
        logger.warning("A callback names job %s for %s (%s), %s", job_id, *name, what)
        doubted = entry.state is State.IN_DOUBT and before.state is not State.IN_DOUBT
        if doubted:
            fields = {"key": entry.key, "target": entry.target, "reason": entry.reason}
            self._state.observers.report(DoubtEvent(**fields, doubt_ids=entry.doubt_ids))
        if entry.state is State.IN_DOUBT and entry.token == callback.token:
            self._doubts.add_from_callback(entry, job_id)
        return doubted

    async def wait_kept(self, entries: Iterable[BatchEntry]) -> None:
        """Wait until jobs that callbacks named for entries are on disk."""
        names = [entry.name for entry in entries]
        while (name := next((one for one in names if one in self.keeping), None)) is not None:
            await self.keeping[name].wait()

    # Doubts.

    @property
    def _doubts(self) -> DoubtResolver:
        """Made for the first doubt: most batches have none."""
        if self._resolver is None:
            assert self._tasks is not None  # noqa: S101 - the batch is open
            self._resolver = DoubtResolver(self._state, self._answered, self._tasks)
        return self._resolver

    def _is_pending(self, entry: Entry) -> bool:
        return self._resolver is not None and self._resolver.is_pending(entry.key, entry.target)

    @property
    def waiting_keys(self) -> tuple[str, ...]:
        """The keys of entries in doubt whose outcome is held back."""
        return () if self._resolver is None else self._resolver.waiting_keys

    def hold(
        self,
        batch_entry: BatchEntry,
        reason: str,
        *,
        doubt_ids: tuple[str, ...],
        candidates: tuple[str, ...],
    ) -> bool:
        """Keep back the outcome of a POST that has just come into doubt; False if nothing can resolve it.

        Args:
            batch_entry: the entry.
            reason: why it is in doubt.
            doubt_ids: all ids that may be its job, as the journal has them.
            candidates: ids in the answer that can only be this entry's job.
        """
        awaits_callback = bool(batch_entry.token) and self._webhook.source is not None
        if not awaits_callback and not candidates:
            return False

        def unresolved(_cleared: bool) -> None:
            self._state.emit(batch_entry, batch_entry.in_doubt(reason, self._clock.now(), doubt_ids))

        self._doubts.hold(
            batch_entry,
            seconds=self._webhook.grace if awaits_callback else 0.0,
            candidates=candidates,
            unresolved=unresolved,
        )
        entry = self._journal.find_token(batch_entry.token) if awaits_callback else None
        for callback in self._before_response.get(batch_entry.token, ()):
            if entry is not None:
                self._doubts.add_from_callback(entry, callback.job_id)
        return True

    def may_be_resolved(self, entry: Entry) -> bool:
        """Whether the doubt of an earlier run may be resolved now: by an id in its answer, or a callback."""
        # An id costs one question to the API; a callback is waited for only if it is likely.
        if entry.candidate_ids or self._is_pending(entry) or self._doubts.may_have_job(entry):
            return True
        return self._callback_expected(entry)

    async def doubt_earlier(
        self, batch_entry: BatchEntry, again: Callable[[Entry], Callable[[], None]]
    ) -> bool:
        """Hold an entry without a result that is to be paid again, if an earlier POST may have made a job.

        That job is asked for first, and given to the entry where it is there.

        Raises:
            JournalError: the journal can't be read or written.
        """
        post = self._journal.find_named_post(*batch_entry.name)
        if post is None:
            return False
        await self._journal.doubt_again(post)
        self._state.budget.count_unknown(batch_entry.name)
        entry = self._journal.get(*batch_entry.name)
        assert entry is not None  # noqa: S101 - it has just been written
        self._state.take_slot_of_job(batch_entry)
        for job_id in post.callback_ids:
            self._doubts.add_from_callback(entry, job_id)
        shared = [
            one for one in post.candidate_ids if self._journal.is_named_elsewhere(one, *batch_entry.name)
        ]
        self.hold_resumed(batch_entry, entry, again=again(entry), shared=shared)
        return True

    def _callback_expected(self, entry: Entry) -> bool:
        if not entry.token or self._webhook.source is None or entry.submitted_at is None:
            return False
        return (self._clock.now() - entry.submitted_at).total_seconds() < EXPECTED

    def hold_resumed(
        self,
        batch_entry: BatchEntry,
        entry: Entry,
        *,
        again: Callable[[], None] | None,
        shared: Collection[str] = (),
    ) -> None:
        """Keep back the outcome of such an entry, which has a slot.

        Args:
            batch_entry: the entry, as it was asked for now.
            entry: what the journal says.
            again: sends it once more, where that is wanted.
            shared: ids that may be the job of another entry as well, besides those of other doubts.
        """
        self.doubted_again.discard(batch_entry.name)  # all its ids are asked for before it is sent

        def unresolved(cleared: bool) -> None:
            # What exists, or could not be asked for, may be its job: paying again would pay for it twice.
            if again is not None and cleared:
                batch_entry.release_slot()
                again()
            else:
                self._state.emit(batch_entry, outcome_from_journal(entry, batch_entry.request))

        batch_entry.submitted_at, batch_entry.token = entry.submitted_at, entry.token
        self._doubts.hold(
            batch_entry,
            seconds=self._webhook.grace if self._callback_expected(entry) else 0.0,
            candidates=entry.candidate_ids,
            unresolved=unresolved,
            shared={*shared, *(job_id for job_id in entry.candidate_ids if self._doubt_ids[job_id] > 1)},
            # They can't be its job for certain, so they matter only where it would be paid for again.
            earlier=() if again is None else entry.earlier_ids,
            pays_again=again is not None,
        )
