"""What an earlier run knows of an entry, and what is resumed before the source names it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import iscoroutine
from typing import Final, Literal, TypeAlias

import attrs

from akool_async._batch.callbacks import WebhookCoordinator
from akool_async._batch.entry import BatchEntry, outcome_from_journal
from akool_async._batch.saving import ResultSaver
from akool_async._batch.state import BatchState
from akool_async._download import SavedResult
from akool_async._journal import EVER, Entry, Journal
from akool_async._model.errors import AkoolError, InputError
from akool_async._model.fingerprint import (
    CompactSet,
    differing_fields,
    entry_key,
    fingerprint,
    is_other_work,
    moved_input,
    replaced_input,
    work_by_content,
    work_of,
)
from akool_async._model.outcomes import Failed
from akool_async._model.redact import sanitize
from akool_async._model.requests import INPUT_FIELDS, Request, private_inputs, with_inputs, with_targets
from akool_async._model.states import RESUME_ACTIONS, WITHOUT_RESULT, ResumeAction, State
from akool_async._model.validators import one_of
from akool_async._polling.scheduler import JUST_MADE

OnInDoubt: TypeAlias = Literal["hold", "resubmit"]
DoubtRule: TypeAlias = OnInDoubt | Callable[[Entry], OnInDoubt]
DOUBT_DECISION: Final = one_of("hold", "resubmit")
OTHER_QUERY: Final = (
    "Another entry has the same URL with another query: one video signed twice, or two videos? "
    "Give each video a key of its own, or set url_is_public where the query names the video."
)
_OTHER_KEY: Final = "This batch has the same work under another key; each would be paid."
_SAME_CONTENT: Final = (
    "Another entry has the same content at another path: one video, or two? Give each video a key of its own."
)
_OTHER_INPUTS: Final = (
    "Another entry has the same inputs, but for the content of a file or the query of a URL: one video, or "
    "two? Give each video a key of its own."
)


def why_replaced(known: Entry, request: Request) -> str:
    """Say that a file or an object was replaced since an entry of the same work was made; "" if none was."""
    place = replaced_input(known.request, request)
    if place is None:
        return ""
    key = "without a key" if known.key == known.fingerprint else f"under the key {sanitize(known.key)}"
    text = f"{sanitize(place)} was replaced: what the journal has {key} is of its earlier content."
    if known.state is State.PLANNED:
        text += (
            " Nothing was sent for that: give this a key of its own, or take that back first (from Python, "
            "with batch.cancel)."
        )
    else:
        text += (
            " Give this a key of its own to have its new content translated, which is paid for, or put the "
            "earlier content back to have the result of that."
        )
    if not place.sha256:
        text += (
            " Its ETag says so. If the same was uploaded anew, leave it out of the catalog: "
            "`akool-async resume` saves what is paid."
        )
    return text


def why_other_work(known: Entry, request: Request) -> str:
    """Say by which fields a request asks for other work than its key names in the journal."""
    text = f"The key {sanitize(known.key)} names other work in the journal"
    if type(known.request) is type(request):
        fields = differing_fields(known.request, request, known.target) or ("the query of a URL",)
        text += f": {', '.join(fields)} differ{'s' if len(fields) == 1 else ''}"
    return (
        f"{text}. Ask for it as before to have what is paid, or use another key, under which it is paid for."
    )


def why_moved(known: Entry, request: Request) -> str:
    """Say that a file has the content of one that an entry of the same work was made of; "" if none has."""
    places = moved_input(known.request, request)
    if places is None:
        return ""
    there, here = map(sanitize, places)
    key, too = f"under the key {sanitize(known.key)}", " and the key"
    if known.key == known.fingerprint:
        key, too = "without a key", ""
    text = f"{here} has the content of {there}, which the journal has {key}: one video, or two? "
    if known.state in WITHOUT_RESULT:
        return f"{text}Its result can't be saved any more; with a key of its own, this is paid for once more."
    return (
        f"{text}If it was moved, write the path{too} as before, where no file has to be any more, and "
        "nothing is paid again. With a key of its own, this is paid for as another video."
    )


def known_as(entry: Entry, mark: str, request: Request) -> str:
    """Say why a request with this fingerprint is not paid for beside an entry of another key.

    Args:
        entry: what the journal has of the same work, or of the same but for a query, or for content.
        mark: the fingerprint.
        request: what was asked for.
    """
    if entry.fingerprint != mark:
        return why_replaced(entry, request) or why_moved(entry, request) or OTHER_QUERY
    where, use = f"under another key, {sanitize(entry.key)}", "Use that key"
    if entry.key == mark:
        where, use = "without a key", "Leave the key out"
    match entry.state:
        case State.PLANNED:
            rest = (
                f"not sent yet, and would be paid as well. {use}, or take it back first (from Python, with "
                "batch.cancel)."
            )
        case State.SUBMITTING | State.IN_DOUBT:
            rest = f"in doubt, and may be paid already. {use}, or resolve that doubt first."
        case State.EXPIRED | State.FAILED:
            rest = (
                "paid already, without a result that can be saved. "
                f"{use}, with retry_failed=True (--retry-failed) to pay once more."
            )
        case _:
            rest = f"paid already. {use} to have its result."
    return f"The journal has the same work {where}: it is {rest}"


def find_elsewhere(
    journal: Journal, request: Request, target: str, entry: Entry | None, *, key: str = ""
) -> Entry | None:
    """Return what a journal has of a request's work under another name, for which nothing is paid.

    `entry` is what the journal has under the request's own name. It is not kept back by one that waits, too,
    nor, where it is to be paid once more, by one without a result.
    """
    asks, ignore = _asks_for_query(request, entry), _no_reason(entry)
    mark, key = fingerprint(request, target), key or entry_key(request, target)
    known = journal.find_work(mark, target, key, any_query=asks, ignore=ignore)
    if known is None and asks and _has_files(request):
        return journal.find_moved(request, target, key)
    return known


def _has_files(request: Request) -> bool:
    return any((getattr(request, name, None) or "").startswith("file:") for name in INPUT_FIELDS)


def _no_reason(entry: Entry | None) -> frozenset[State]:
    """Return the states in which another entry of the same work does not keep this one back."""
    if entry is None:
        return frozenset()
    return frozenset({State.PLANNED}) | (frozenset() if entry.state is State.PLANNED else WITHOUT_RESULT)


def _asks_for_query(request: Request, entry: Entry | None) -> bool:
    """Whether the same URL with another query may be the same video, so that the caller has to say it."""
    return not (request.key or request.url_is_public or _no_reason(entry) > {State.PLANNED})


class Resumer:
    """Decides what the journal makes of an entry: submit, poll, hold or report."""

    def __init__(
        self,
        state: BatchState,
        callbacks: WebhookCoordinator,
        *,
        on_in_doubt: DoubtRule,
        retry_failed: bool,
        saver: ResultSaver,
        start_submit: Callable[[list[BatchEntry]], None],
        start_restore: Callable[[BatchEntry, Entry, SavedResult], None],
    ) -> None:
        self._state = state
        self._clock = state.clock
        self._journal = state.journal
        self._callbacks = callbacks
        self._on_in_doubt = on_in_doubt
        self._retry_failed = retry_failed
        self._saver = saver
        self._start_submit = start_submit
        self._start_restore = start_restore
        self._seen = CompactSet()
        self._works = CompactSet()
        self._unkeyed = CompactSet()

    async def recover_pending(self) -> None:
        """Follow what an earlier run left at the vendor, the soonest to expire first."""
        left = (
            self._journal.expiring(EVER, self._clock.now()),
            self._journal.entries(states=(State.SUBMITTED, State.COMPLETED)),  # of unknown age, too
        )
        for entries in left:
            async for entry in entries:
                if (entry.key, entry.target) not in self._state.recovered:
                    found = BatchEntry(request=entry.request_for_target, target=entry.target)
                    self._state.recovered.adopt(found)
                    self._poll(found, entry)

    async def needs_submission(self, batch_entry: BatchEntry) -> bool:
        """Whether an entry is to be submitted; if not, it is on its way."""
        try:
            if private_inputs(batch_entry.request):
                batch_entry.identify(await self._state.inputs.identify(batch_entry.request))
        except InputError as error:
            # Its file may be gone by now, and its job, or the result, still be there.
            known = self._find_work(batch_entry)
            if known is None:
                self._state.emit(batch_entry, batch_entry.not_submitted(str(error), self._clock.now()))
                return False
            replaced = await self._state.inputs.find_replaced(batch_entry.request, known.request)
            batch_entry.identify(with_inputs(known.request_for_target, replaced))
        name = batch_entry.name
        again = name in self._state.not_submitted  # nothing was sent for it so far
        self._state.not_submitted.discard(name)
        if not self._seen.add(*name) and not again:
            self._refuse(batch_entry, self._why_twice(batch_entry))
            return False
        mark = fingerprint(batch_entry.request, batch_entry.target)
        # Recorded before the journal is asked: the same work under two keys would be paid twice.
        doubled = not self._works.add(mark, batch_entry.target) and not again
        entry = self._journal.recall(*name, batch_entry.request)
        if entry is not None and not await self._may_be_sent(batch_entry, entry):
            return False
        if entry is not None:
            self._saver.remember_name(entry)
        if doubled and self._is_elsewhere(batch_entry, mark, any_query=False):
            self._refuse(batch_entry, _OTHER_KEY)
            return False
        reason = self._why_known(batch_entry, mark, entry, again=again)
        if not reason and not self.claim_work(batch_entry, mark):
            reason = _OTHER_KEY
        if reason and entry is not None and entry.state is not State.PLANNED:
            ended = outcome_from_journal(entry, batch_entry.request)  # it was to be paid once more
            self._state.emit(batch_entry, attrs.evolve(ended, reason=f"{ended.reason} {reason}"))
        elif reason:
            self._refuse(batch_entry, reason)
        return not reason

    def _why_twice(self, batch_entry: BatchEntry) -> str:
        """Say why an entry is refused whose name this run has had before."""
        request, target, payers = batch_entry.request, batch_entry.target, self._state.payers
        waiting = (mark for (mark, _), payer in payers.items() if payer.name == batch_entry.name)
        entry = self._journal.get(*batch_entry.name)
        known = next(waiting, None) or (None if entry is None else entry.fingerprint)
        if known is None:
            other = not self._works.contains(fingerprint(request, target), target)
        else:
            other = is_other_work(known, request, target)
        if other:
            return (
                "Its key names other work in this run, so this was not translated. Give it a key of its own."
            )
        return "This batch has it twice; each would be paid."

    def claim_work(self, batch_entry: BatchEntry, mark: str = "") -> bool:
        """Reserve the right to pay for an entry's work until it has a job or has ended; False if it is taken.

        The journal does not show that of the other one before its intent: it may wait for a slot, or for
        credits.
        """
        work = (mark or fingerprint(batch_entry.request, batch_entry.target), batch_entry.target)
        payer = self._state.payers.get(work)
        # What was withdrawn is not sent, though its task may still wait for its turn.
        if payer is not None and payer.name not in self._state.withdrawals.done:
            return False
        self._state.payers[work], batch_entry.work = batch_entry, work
        return True

    def _find_work(self, batch_entry: BatchEntry) -> Entry | None:
        """Return what the journal has of an entry whose input can't be read any more."""
        known = self._journal.get(*batch_entry.name)
        if known is None and not batch_entry.request.key:
            mark = fingerprint(batch_entry.request, batch_entry.target)
            known = self._journal.find_other_query(mark, batch_entry.target)
        return None if known is None or known.state is State.PLANNED else known

    def _why_known(self, batch_entry: BatchEntry, mark: str, entry: Entry | None, *, again: bool) -> str:
        """Say by which other name the work of an entry is known, to this run or to the journal; or ""."""
        request, target = batch_entry.request, batch_entry.target
        pulled = _asks_for_query(request, entry) and not self._unkeyed.add(work_of(mark), target)
        if pulled and not again and self._is_elsewhere(batch_entry, mark, any_query=True):
            return _OTHER_INPUTS if private_inputs(request) else OTHER_QUERY
        # What is submitted one by one is asked for by the journal alone, which knows what was withdrawn.
        if self._state.listener is None and _asks_for_query(request, entry) and _has_files(request):
            content = work_by_content(request, target)
            if content and not self._unkeyed.add(content, target) and not again:
                return _SAME_CONTENT
        known = find_elsewhere(self._journal, request, target, entry, key=batch_entry.key)
        return "" if known is None else known_as(known, mark, request)

    def _is_elsewhere(self, batch_entry: BatchEntry, mark: str, *, any_query: bool) -> bool:
        """Whether another entry of work that this run has pulled before is still there.

        What is submitted one by one is in the journal before it is pulled, until it is withdrawn.
        """
        if self._state.listener is None:
            return True
        target, key = batch_entry.target, batch_entry.key
        return self._journal.find_work(mark, target, key, any_query=any_query, planned=True) is not None

    def _refuse(self, batch_entry: BatchEntry, reason: str) -> None:
        refused = batch_entry.not_submitted(reason, self._clock.now())
        self._state.emit(batch_entry, refused, repeated=True)

    async def _may_be_sent(self, batch_entry: BatchEntry, entry: Entry) -> bool:
        other = is_other_work(entry.fingerprint, batch_entry.request, batch_entry.target)
        if other and entry.state is not State.PLANNED:
            before = self._journal.get(*batch_entry.name) or entry  # `recall` returns the caller's request
            self._refuse(batch_entry, why_other_work(before, batch_entry.request))
            return False
        # The result, or the doubt, is of the earlier content; what has neither is sent as it is now.
        changed = entry.fingerprint != fingerprint(batch_entry.request, batch_entry.target)
        if changed and entry.state is not State.PLANNED and entry.state not in WITHOUT_RESULT:
            known = self._journal.get(*batch_entry.name)  # `recall` returns the caller's request
            if known is not None and (reason := why_replaced(known, batch_entry.request)):
                self._refuse(batch_entry, reason)
                return False
        if (entry.key, entry.target) not in self._state.recovered:
            return await self._resume(batch_entry, entry)
        ended = self._state.recovered.claim(batch_entry)
        if isinstance(ended, AkoolError):
            self._state.abandon(ended, batch_entry)
        elif (
            isinstance(ended, Failed)
            and batch_entry.retries_left
            and ended.may_pass
            and self._journal.find_named_post(*batch_entry.name) is None
        ):
            self._state.replace_job(batch_entry, ended)
            batch_entry.failure, batch_entry.retries_left = ended, batch_entry.retries_left - 1
            return True
        elif ended is not None:
            self._state.emit(batch_entry, ended)
        return False

    async def _resume(self, batch_entry: BatchEntry, entry: Entry) -> bool:
        match RESUME_ACTIONS[entry.state]:
            case ResumeAction.SUBMIT:
                # Its last POST, if there was one, surely made no job: a doubt may have been resolved so.
                self._state.budget.settle(batch_entry.name, None, charged=False)
                return True
            case ResumeAction.POLL | ResumeAction.DOWNLOAD:
                self._poll(batch_entry, entry)
                return False
            case ResumeAction.HOLD:
                resubmits = self._resubmits(entry)  # asked once: a person may be behind it, or a count
                # Before paying again: what names its job may be waiting in the inbox or in the journal.
                if self._callbacks.may_be_resolved(entry) or (resubmits and entry.earlier_ids):
                    self._state.take_slot_of_job(batch_entry)  # there may be one
                    resubmit = self._again(batch_entry, entry) if resubmits else None
                    self._callbacks.hold_resumed(batch_entry, entry, again=resubmit)
                    return False
                if resubmits:
                    self._state.mark_resubmission(entry)
                    return True
            case ResumeAction.REPORT if self._retry_failed and entry.state in WITHOUT_RESULT:
                again = partial(self._again, batch_entry)
                return not await self._callbacks.doubt_earlier(batch_entry, again)
            case ResumeAction.REPORT:
                entry, damage = await self._saver.find_damage(entry)
                if damage is not None:
                    self._start_restore(batch_entry, entry, damage)
                    return False
        self._state.emit(batch_entry, outcome_from_journal(entry, batch_entry.request))
        return False

    def _resubmits(self, entry: Entry) -> bool:
        """Whether an entry in doubt is to be paid for again; if the caller's rule fails, none is any more."""
        rule = self._on_in_doubt
        if not callable(rule):
            return rule == "resubmit"
        try:
            decision: object = rule(entry)
            if iscoroutine(decision):
                decision.close()  # else Python warns that it was never awaited
            DOUBT_DECISION.check("What the function on_in_doubt returns", decision)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the caller's own; it is raised after the last outcome
            self._on_in_doubt = "hold"
            self._state.stop(f"The function on_in_doubt failed: {type(error).__name__}.", error)
            return False
        return decision == "resubmit"

    def _again(self, batch_entry: BatchEntry, entry: Entry) -> Callable[[], None]:
        """Return what pays for an entry in doubt once more."""

        def again() -> None:
            request = with_targets(batch_entry.request, (batch_entry.target,))
            sent = attrs.evolve(batch_entry, request=request)
            if not self.claim_work(sent):
                self._state.emit(sent, outcome_from_journal(entry, batch_entry.request))
                return
            self._state.mark_resubmission(entry)
            self._start_submit([sent])

        return again

    def _poll(self, batch_entry: BatchEntry, entry: Entry) -> None:
        """Wait for a job that an earlier run submitted."""
        batch_entry.resume_job(entry)
        self._state.take_slot_of_job(batch_entry)
        since = entry.created_at or entry.submitted_at
        # An earlier run submitted it, whatever a wrong clock says: it is polled in its turn, not as if new.
        age = None if since is None else max((self._clock.now() - since).total_seconds(), JUST_MADE)
        self._state.poll(batch_entry, age)
