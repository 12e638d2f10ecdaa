"""How a batch is asked for: every option is checked before anything is opened."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

from akool_async._batch.batch import Batch
from akool_async._batch.callbacks import Webhook
from akool_async._batch.naming import Home
from akool_async._batch.resuming import OnInDoubt
from akool_async._batch.source import Requests
from akool_async._client import AkoolClient
from akool_async._core.callback import CallbackSource
from akool_async._core.errors import InvalidRequest
from akool_async._core.names import USUAL, read_names
from akool_async._core.schedule import PollSchedule
from akool_async._journal import Journal


def open_batch(
    client: AkoolClient,
    requests: Requests,
    *,
    max_in_flight: int = 8,
    backlog: int | None = None,
    journal: Journal | None = None,
    download_to: str | os.PathLike[str] | None = None,
    names: str | Mapping[str, str] = USUAL.text,
    captionless: bool = False,
    rescue: bool = True,
    on_in_doubt: OnInDoubt = "hold",
    retry_failed: bool = False,
    schedule: PollSchedule | None = None,
    max_credits: float | None = None,
    posts: int = 8,
    downloads: int = 4,
    drain_on: Iterable[signal.Signals] = (),
    webhook_url: str | None = None,
    webhook: CallbackSource | None = None,
    webhook_grace: float = 120.0,
) -> Batch:
    """Give a batch, to be used in `async with` and iterated over with `async for`, once.

    Outcomes come in the order in which they end, one for each (request, language). Leaving the block
    early is fine: a POST under way is finished and recorded, jobs at the vendor go on, and the same
    code run again with the same journal brings them home.

    With `download_to`, what the journal has at the vendor is taken up before anything is submitted, for
    its results die after 7 days: it comes home also where `requests` come to it late or never. Its
    outcome is given when they do. A batch that is left before its end does not close an async generator
    that it took requests from; that is its owner's to do (`contextlib.aclosing`).

    Args:
        client: an open client.
        requests: an iterable or async iterable, finite or endless; pulled lazily.
        max_in_flight: jobs at the vendor at once. A request for more languages is cut into several POSTs.
        backlog: entries pulled whose outcome is not taken yet, at least `max_in_flight`; default is twice
            that. A slow consumer stops new submissions when it is reached.
        journal: an open journal, used by one batch at a time; without one nothing can be resumed.
        download_to: a folder for results; None leaves them at the vendor, where they die after 7 days.
        names: what the files are called, without ending, made of {stem} (the video's name), {language},
            {key} and {fingerprint}; or such a template for each key (as `key_of` gives them). Each entry
            holds its name from before it is paid for. Where names of two entries meet on any system, or
            something else stands there, the later one gets a part of its fingerprint.
        captionless: bring home the video without burnt-in captions too, where the vendor made one.
        rescue: take up what the journal has at the vendor; False leaves alone what `requests` do not come to.
        on_in_doubt: "hold" keeps entries in doubt as they are; "resubmit" pays for them again, knowingly.
        retry_failed: submit again what an earlier run saw failed, rejected or expired.
        schedule: when jobs are asked about; default is the client's.
        max_credits: credits that the journal's entries may cost together; locks and doubts count in full.
        posts: paid POSTs under way at once.
        downloads: results brought home at once.
        drain_on: signals that stop submissions and bring home what is in flight; the second one leaves.
        webhook_url: where the vendor shall call back, such as "https://me.example/akool". Each POST gets
            an unguessable token as the last part of its path, so that a callback names the job of a POST
            whose answer was lost; so each POST is for one language. Requests with a URL of their own
            keep it, and get no token.
        webhook: where callbacks come from: a `WebhookReceiver`, or an inbox that one writes. They make
            the batch ask sooner, and clear up doubts.
        webhook_grace: seconds for which an entry in doubt is held back because its callback may come,
            before it comes out as `InDoubt`; 0 or more.

    Raises:
        InvalidRequest: a value is out of its range; nothing was sent.
        JournalLocked: on entering, another batch is using the journal; nothing was sent.
        JournalError: on entering, the journal can't be written; nothing was sent.
    """
    _count("max_in_flight", max_in_flight, 1)
    if on_in_doubt not in ("hold", "resubmit"):
        raise InvalidRequest(f"on_in_doubt must be 'hold' or 'resubmit', not {on_in_doubt!r}.")
    if max_credits is not None and not max_credits > 0:
        raise InvalidRequest(f"max_credits must be a positive number, not {max_credits!r}.")
    return Batch(
        client,
        requests,
        max_in_flight=max_in_flight,
        backlog=_count("backlog", 2 * max_in_flight if backlog is None else backlog, max_in_flight),
        journal=journal,
        home=Home(
            folder=None if download_to is None else Path(download_to),
            names=read_names(names),
            captionless=captionless,
        ),
        rescue=rescue,
        on_in_doubt=on_in_doubt,
        retry_failed=retry_failed,
        schedule=schedule,
        max_credits=max_credits,
        posts=_count("posts", posts, 1),
        downloads=_count("downloads", downloads, 1),
        drain_on=drain_on,
        webhook=Webhook(url=webhook_url, source=webhook, grace=webhook_grace),
    )


def _count(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidRequest(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return value
