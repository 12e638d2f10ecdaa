"""One paid POST under a ledger, top to bottom: intent, take, POST, put. Called again it pays nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from akool_async._client import AkoolClient, new_token, with_token
from akool_async._clock import Clock
from akool_async._model.dispositions import Disposition
from akool_async._model.errors import AkoolError, InvalidRequestError, RateLimitError, SubmissionInDoubt
from akool_async._model.fingerprint import entry_key
from akool_async._model.outcomes import InDoubt
from akool_async._model.requests import Request
from akool_async._model.responses import Job, Submission
from akool_async._model.states import State
from akool_async.ledger.database import LedgerError
from akool_async.ledger.entries import IntentState
from akool_async.ledger.intents import FRESH, LedgerIntents, NotNow

logger: Final[logging.Logger] = logging.getLogger("akool_async")
T = TypeVar("T")
_PAUSE: Final = 1.0
"""Seconds between tries to record an answer, and before a POST is tried again that surely made no job."""

_TAKEN: Final = "Another process began to send it, and its answer is not recorded."


@attrs.frozen(kw_only=True)
class Made:
    """The job exists, made by this call or by an earlier one, and is paid.

    Attributes:
        job: the job.
        again: whether an earlier call made it.
    """

    job: Job
    again: bool = False


@attrs.frozen(kw_only=True)
class Refused:
    """The vendor refused to make the job, or its result is saved already; nothing was charged.

    Attributes:
        reason: in words.
        code: the vendor's number, if it gave one.
    """

    reason: str
    code: int | None = None


@attrs.frozen(kw_only=True)
class NotSent:
    """Surely no job was made; the same may be submitted again.

    Attributes:
        reason: in words.
        retry_after: seconds to wait before the next call.
        stops: whether nothing else can be submitted either, before its cause is corrected.
    """

    reason: str
    retry_after: float = _PAUSE
    stops: bool = False


@attrs.frozen(kw_only=True)
class LostAnswer(InDoubt):
    """The POST of this very call got no clear answer; a plain `InDoubt` comes from an earlier call.

    A few in a row are an outage, in which each further POST may be one more job that is paid and unknown.

    Attributes:
        stops: whether every next POST would end like it, as at a wrong host.
    """

    stops: bool = False


Submitted: TypeAlias = Made | Refused | NotSent | InDoubt
"""What became of a submission."""


def open_ledger(
    url: str,
    *,
    account: str = "default",
    max_credits: float | None = None,
    max_in_flight: int | None = None,
    clock: Clock | None = None,
) -> Ledger:
    """Return the ledger in a Postgres database, to be used in `async with`; its tables are made or updated.

    Args:
        url: such as "postgresql://user:password@host/database".
        account: whose jobs these are; the entries, cap and budget of accounts are apart.
        max_credits: what all entries of the account may cost together, over all machines; it is kept in the
            database and holds for every machine. A job of unknown price counts as much as the dearest known
            one, a failed job nothing. None keeps what is there; `math.inf` takes the bound away.
        max_in_flight: how many jobs the account may have at the vendor at once, over all machines; kept in
            the database likewise. A POST in doubt counts as one for ten minutes.
        clock: for tests. Its `now` is called here once.

    Raises:
        ConfigurationError: the URL is not one of a Postgres database, or a value is out of its range.
    """
    return Ledger(url, account=account, max_credits=max_credits, max_in_flight=max_in_flight, clock=clock)


class Ledger(LedgerIntents):
    """Paid work of one account, shared by many machines; see `open_ledger`."""

    async def submit_once(
        self,
        client: AkoolClient,
        request: Request,
        *,
        work: str | None = None,
        webhook_url: str | None = None,
        worker: str = "",
    ) -> Submitted:
        """Make the job of a request for one language, at most once however often and wherever it is called.

        Args:
            client: of the ledger's account; its `create_timeout` must not be above 180 s, because a doubt may
                be called not made 240 s after its POST began. With an `http_client` of your own whose
                transport is not httpx's, a process that was frozen does not ask again before it sends.
            request: with exactly one target.
            work: the entry's key; default is the request's key or its fingerprint.
            webhook_url: where the vendor shall call back, without a token; each POST gets its own.
            worker: who sends it, for people.

        Returns:
            `Made` with the job, now or by an earlier call; `Refused`; `NotSent`, which may be called again
            later; or `InDoubt`: a job may exist, and it is never sent again by itself. It is a `LostAnswer`
            if this call sent it: after a few in a row, or one that `stops`, send nothing else for a while.

        Raises:
            InvalidRequestError: it has several targets; or the ledger has the same work under another key, or
                with another query of a URL, or another video under this key, and it was not entered; or no
                POST can carry the webhook URL.
            LedgerError: the ledger can't be written: nothing was sent. Call it again.
        """
        if len(request.targets) != 1:
            raise InvalidRequestError(f"A ledger's POST is for one language, not for {len(request.targets)}.")
        if webhook_url is not None:
            with_token(webhook_url, new_token())  # raises for one that no POST can carry
        key = work or entry_key(request, request.targets[0])
        intent = await self.intend(request, key, worker)
        if isinstance(intent, NotNow):
            return NotSent(reason=intent.reason, stops=intent.stops)
        if intent is None:
            return await _known(self, key, request)
        if intent.state is IntentState.SENDING:
            # Never sent again. Its sender may be alive or dead, and only the row of an answer proves a job.
            # So this declares a doubt; the answer, if it comes, makes it a job again.
            await self.doubt(intent.token, _TAKEN)
        if intent.state is not IntentState.INTENDED:
            return await _known(self, key, request)
        right = _RightToSend(self, intent.token)

        async def send() -> Submitted | None:
            if not await right.acquire():
                return None
            return await _send(self, client, request, key, right, webhook_url)

        submitted = await self.finish(send)  # between take and put a cancellation would lose a paid job
        return submitted or await _known(self, key, request)


class _Withdrawn(AkoolError):
    """The right to send was lost before anything was sent."""


class _RightToSend:
    """The right to send one POST, and how long ago the ledger said so."""

    def __init__(self, ledger: Ledger, token: str) -> None:
        self.token = token
        self._ledger = ledger
        self._sender = new_token()
        self._asked = (0.0, ledger.clock.now())

    async def acquire(self) -> bool:
        """Take it; ask again with the same name where the answer was lost, so that no doubt is made."""
        try:
            return await self._ask()
        except AkoolError:
            # Unknown whether it was committed. If it was, this finds its own name; if not, it takes it now.
            return await self._ask()

    async def _ask(self) -> bool:
        # Before the question: the time that its answer takes counts, and a freeze meanwhile.
        self._asked = (self._ledger.clock.monotonic(), self._ledger.clock.now())
        return await self._ledger.acquire(self.token, self._sender)

    async def check(self) -> None:
        """Called with the connection made, before the first byte.

        A process that was frozen since it asked, or a machine that slept, may find its POST called not made
        and paid by another. So it asks again, and an answer is good for a few seconds only. No fence
        excludes a freeze between this line and the socket: the vendor knows no token that it could refuse.

        Raises:
            _Withdrawn: the POST is not this one's any more.
            LedgerError: the ledger does not answer.
        """
        clock = self._ledger.clock
        # By both clocks: the one may stop while a machine sleeps, the other may be set.
        while (
            max(clock.monotonic() - self._asked[0], abs((clock.now() - self._asked[1]).total_seconds()))
            > FRESH
        ):
            if not await self._ask():
                raise _Withdrawn("It was declared in doubt before anything was sent, and was not sent.")


async def _send(
    ledger: Ledger,
    client: AkoolClient,
    request: Request,
    key: str,
    right: _RightToSend,
    webhook_url: str | None,
) -> Submitted:
    addressed, token, stops = request, right.token, False
    if webhook_url is not None and request.webhook_url is None:
        addressed = attrs.evolve(request, webhook_url=with_token(webhook_url, token))
    try:
        submission = await client.session.submit_once(addressed, before_send=right.check)
    except _Withdrawn as withdrawn:
        # For the person who resolves the doubt. An intent that was resolved meanwhile stays as it is.
        await _end(ledger, token, State.IN_DOUBT, reason=f"{withdrawn.message} No job was made.")
        return await _known(ledger, key, request)
    except LedgerError as error:
        await _end(ledger, token, State.PLANNED, reason=str(error))
        return NotSent(reason=str(error))
    except SubmissionInDoubt as doubt:
        await _end(ledger, token, State.IN_DOUBT, reason=str(doubt), code=doubt.code, doubt_ids=doubt.job_ids)
        stops = doubt.disposition.stops
        if not doubt.job_ids:
            return _lost(await _known(ledger, key, request), stops=stops)
        # Its ids are recorded; only now is the API asked which of them is the job.
        submission = await client.session.confirm_submission(doubt)
    except AkoolError as error:
        return await _failed(ledger, token, error)
    # The id is recorded before anything else is done with the answer: it is paid, and known nowhere else.
    if submission.accepted:
        (job,) = submission.accepted
        is_ours = await _until_recorded(
            ledger, f"Job {job.id} is made and paid", lambda: ledger.made(token, job)
        )
        if not is_ours:
            # Resolved otherwise meanwhile, or another entry's: its entry must name it all the same.
            reason = f"The answer names job {job.id}, which another entry has."
            await _end(ledger, token, State.IN_DOUBT, reason=reason, doubt_ids=(job.id,))
        await _keep_extra(ledger, token, submission)
        return Made(job=job) if is_ours else await _known(ledger, key, request)
    if submission.refused:
        await _keep_extra(ledger, token, submission)
        return await _failed(ledger, token, submission.refused[0].error)
    ids = f" It names {', '.join(submission.job_ids)}." if submission.job_ids else ""
    reason = f"The answer to a paid call does not mention {request.targets[0]!r}.{ids}"
    await _end(ledger, token, State.IN_DOUBT, reason=reason, doubt_ids=submission.job_ids)
    return _lost(await _known(ledger, key, request), stops=stops)


async def _keep_extra(ledger: Ledger, token: str, submission: Submission) -> None:
    """Record the jobs in an answer that nobody asked for; they may be billed."""
    for extra in submission.extra:
        keep = partial(ledger.keep, token, extra.id, extra)
        await _until_recorded(ledger, f"Job {extra.id} is made", keep)


def _lost(known: Submitted, *, stops: bool) -> Submitted:
    if not isinstance(known, InDoubt):  # a callback or a person was faster
        return known
    return LostAnswer(**attrs.asdict(known, recurse=False), stops=stops)


async def _failed(ledger: Ledger, token: str, error: AkoolError) -> Submitted:
    # The same table by which a batch judges: only what surely made no job closes the intent.
    judged = error.disposition
    await _end(ledger, token, judged.state, reason=str(error), code=error.code)
    if judged is Disposition.REJECTED:
        return Refused(reason=str(error), code=error.code)
    wait = error.retry_after if isinstance(error, RateLimitError) else _PAUSE
    return NotSent(reason=str(error), retry_after=max(wait, _PAUSE), stops=judged.stops)


async def _end(ledger: Ledger, token: str, state: State, **how: Any) -> None:
    """Record how a POST ended, as `record_end` does; until then nobody sends it again."""
    record = partial(ledger.record_end, token, state, **how)
    await _until_recorded(ledger, "The answer to a paid call is known", record)


async def _until_recorded(ledger: Ledger, what: str, record: Callable[[], Awaitable[T]]) -> T:
    """Record something for as long as it takes: it is paid, and known nowhere else."""
    warned = False
    while True:
        try:
            return await record()
        except LedgerError as error:
            if not warned:
                logger.warning("%s, but not recorded yet: %s", what, error)
            warned = True
        await ledger.clock.sleep(_PAUSE)


async def _known(ledger: Ledger, key: str, request: Request) -> Submitted:
    """Return what the ledger knows of an entry that is not sent now."""
    (target,) = request.targets
    entry = await ledger.get(key, target)
    if entry is None or entry.state is State.PLANNED:
        return NotSent(reason="It was planned anew meanwhile.")
    if entry.job is not None:
        return Made(job=entry.job, again=True)
    if entry.state is State.FAILED:
        return Refused(reason=entry.reason, code=entry.code)
    if entry.state is State.SUBMITTING:
        return NotSent(reason="Another process is about to send it.")
    return InDoubt(
        key=key,
        request=request,
        target=target,
        reason=entry.reason,
        submitted_at=entry.submitted_at,
        doubt_ids=entry.doubt_ids,
    )
