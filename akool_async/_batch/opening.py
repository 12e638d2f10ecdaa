"""`open_batch`: every option of a batch, judged before anything is opened."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from inspect import iscoroutinefunction
from typing import cast

from akool_async._batch.batch import Batch
from akool_async._batch.callbacks import WebhookConfig
from akool_async._batch.feeder import Requests
from akool_async._batch.preflight import Preflight, preflight_for
from akool_async._batch.resume import DOUBT_DECISION, DoubtRule
from akool_async._batch.saving import OutputConfig
from akool_async._client import AkoolClient
from akool_async._journal import BatchJournal, Journal
from akool_async._model.errors import ConfigurationError
from akool_async._model.filenames import DEFAULT_TEMPLATE, TemplateTexts, parse_templates
from akool_async._model.media import Limits
from akool_async._model.responses import CallbackSource
from akool_async._model.validators import (
    file_path,
    instance_of,
    not_negative,
    positive,
    whole_number,
    whole_number_from,
)
from akool_async._polling.poll_state import PollSchedule
from akool_async._signals import check_signals
from akool_async._storage import NO_INPUTS, SharedInputs, Storage, result_folder


def open_batch(
    client: AkoolClient,
    requests: Requests | None = None,
    *,
    threaded: bool = False,
    max_in_flight: int = 8,
    backlog: int | None = None,
    journal: Journal | None = None,
    download_to: str | os.PathLike[str] | None = None,
    file_names: TemplateTexts = DEFAULT_TEMPLATE.text,
    without_captions: bool = False,
    verify_saved: bool = False,
    pay_again: bool = False,
    recover_pending: bool = True,
    resume_planned: bool = True,
    on_in_doubt: DoubtRule = "hold",
    retry_failed: bool = False,
    retry_transient: int = 0,
    schedule: PollSchedule | None = None,
    max_credits: float | None = None,
    max_doubts: int = 3,
    max_submits: int = 8,
    max_downloads: int = 4,
    drain_signals: Iterable[signal.Signals] = (),
    webhook_url: str | None = None,
    callbacks: CallbackSource | None = None,
    webhook_grace: float = 120.0,
    preflight: Limits | Preflight | None = None,
    storage: Storage | None = None,
) -> Batch:
    """Return a batch, to be used in `async with` and iterated over with `async for`, once.

    Outcomes come in the order in which they end, one for each (request, language). The block may be left
    early: a POST under way is finished and recorded, jobs at the vendor continue and are billed, and the
    same code run again with the same journal saves their results.

    With `download_to`, what the journal has at the vendor is recovered before anything is submitted, because
    its results expire after 7 days: they are saved even if `requests` names them late or never. Their
    outcomes are emitted when `requests` names them. A batch that is left before its end does not close an
    async generator that it took requests from; close it yourself (`contextlib.aclosing`).

    Args:
        client: an open client.
        requests: an iterable or async iterable, finite or endless; pulled lazily. None for a service that
            calls `Batch.submit`: then the journal is the queue, the batch begins with what earlier runs left
            in it, and it ends when it is drained or left. An iteration sees the last 1,000 outcomes that it
            has not taken; `Batch.outcome` and tickets know all.
        threaded: pull `requests`, an iterable that is not async, in one worker thread, always the same: for a
            source that blocks, such as a database's cursor. What it blocks on ends with it alone: a batch
            that is left does not wait for it, but the program does before it exits.
        max_in_flight: jobs at the vendor at once, 1 or more; those of an earlier run are waited for even
            beyond it. A request for more languages is split into several POSTs.
        backlog: entries pulled whose outcome is not taken yet, at least `max_in_flight`; default is twice
            that. A slow consumer stops new submissions when it is reached.
        journal: an open journal, used by one batch at a time; without one nothing can be resumed.
        download_to: a folder, or a bucket as "s3://b/prefix"; None leaves results at the vendor for 7 days.
            A relative folder is one of the current directory: do not change that while the batch is open.
        file_names: what the files are called, without extension, made of {stem} (the video's name),
            {language}, {key} and {fingerprint}, with folders as in "{language}/{key}"; or such a template
            for each key (as returned by `entry_key`), or for a (key, language), which goes before the key's;
            the language of a lip-sync is "". Each entry has its name before it is paid for. Where names of
            two entries collide on any system, or another file has the name, the later one gets a part of its
            fingerprint.
        without_captions: also save the video without burnt-in captions, where the vendor made one.
        verify_saved: compare the SHA-256 of files that earlier runs saved. By default their existence and
            size are compared. What is not as it was saved is downloaded again, without paying, while the
            vendor has it; a changed file is kept, and the result saved under another name. A result without
            its manifest, which alone has the hashes, is downloaded again.
        pay_again: submit entries even where `download_to` holds a result of them whose job the journal does
            not know: a manifest with the same key and language, under a name that this entry has or may
            get.
        recover_pending: recover what the journal has at the vendor; False leaves alone what `requests` does
            not name.
        resume_planned: without `requests`, also send what earlier runs were given and did not send; False
            leaves it in the journal until it is submitted again.
        on_in_doubt: "hold" keeps entries in doubt as they are; "resubmit" pays for them again, knowingly,
            but for those of which a job may exist that was named for them; that the vendor knows no such job
            counts after ten minutes. A function decides for each entry, once, by what the journal has of it.
            If it raises, or returns anything else, nothing more is submitted; the error is raised after the
            last outcome.
        retry_failed: submit again what failed, was rejected or expired in an earlier run.
        retry_transient: times that this run submits an entry again after a failure that may pass: status 4
            without a reason in the video or the request, and codes for which the vendor says "try again
            later". Each is paid like any other submission, within `max_credits`; 0 or more.
        schedule: when jobs are polled; default is the client's.
        max_credits: credits that the journal's entries may cost together, above 0. Locks count in full; a
            doubt, and a job of unknown cost, counts as much as the dearest known job. Each job is made by
            itself, after the price of the one before is known; with `preflight` what it may cost at most has
            to fit, too. The bound is exceeded by the jobs of one POST at most where the vendor names each
            price when it accepts a job; one that nobody asked for counts, too. A failed job counts nothing,
            because the vendor should return what it locked.
        max_doubts: paid POSTs in a row that get no clear answer, 1 or more. Then nothing more is submitted
            until a callback or the API resolves one of them; without that the batch stops. This keeps an
            outage from making a doubt of each entry. If the newest calls in the journal are in doubt, the
            run begins with a single call, and stops if its answer is lost, too.
        max_submits: paid POSTs under way at once, 1 or more.
        max_downloads: results downloaded at once, 1 or more.
        drain_signals: signals that stop submissions and save what is in flight; the second one leaves, and
            further ones change nothing until the batch is closed: a POST under way is finished and recorded,
            which is logged as a warning, and takes as long as the client's `create_timeout` at most.
        webhook_url: where the vendor sends callbacks, such as "https://me.example/akool". Each POST gets
            an unguessable token as the last part of its path, so that a callback names the job of a POST
            whose answer was lost; so each POST is for one language. Requests with a URL of their own
            keep it, and get no token.
        callbacks: where callbacks come from: a `WebhookReceiver`, or an inbox that one writes, open before
            the batch is entered. They make the batch poll sooner, and resolve doubts.
        webhook_grace: seconds for which an entry in doubt is held because its callback may still arrive,
            before its outcome is `InDoubt`; 0 or more.
        preflight: look into each new video before it is paid for; what the vendor would refuse by these
            limits is `NotSubmitted` and costs nothing. Needs `akool-async[media]`; None looks into nothing.
        storage: which buckets may be used, for inputs that are files or objects.

    Raises:
        ConfigurationError: a value is out of its range, a signal can't be handled, PyAV is missing, or, on
            entering, `drain_signals` are wanted outside the main thread; nothing was sent.
        JournalLockedError: on entering, another batch is using the journal; nothing was sent.
        JournalError: on entering, the journal can't be written; nothing was sent.
    """
    # All values are judged here, before anything is opened: a wrong one costs nothing.
    whole_number.check("max_in_flight", max_in_flight)
    backlog = 2 * max_in_flight if backlog is None else backlog
    whole_number_from(max_in_flight).check("backlog", backlog)
    whole_number_from(0).check("retry_transient", retry_transient)
    whole_number.check("max_doubts", max_doubts)
    whole_number.check("max_submits", max_submits)
    whole_number.check("max_downloads", max_downloads)
    positive.or_none.check("max_credits", max_credits)
    not_negative.check("webhook_grace", webhook_grace)
    instance_of("a journal made by open_journal", BatchJournal).or_none.check("journal", journal)
    instance_of("a Limits", Limits, Preflight).or_none.check("preflight", preflight)
    instance_of("a Storage", Storage).or_none.check("storage", storage)
    if iscoroutinefunction(on_in_doubt):
        raise ConfigurationError("on_in_doubt must be a plain function, not an async one.")
    if not callable(on_in_doubt):
        DOUBT_DECISION.check("on_in_doubt", on_in_doubt)
    if download_to is not None:
        file_path.check("download_to", download_to)
    # Submitted requests are durable once `submit` returns; in memory they would be lost with the process.
    if requests is None and journal is None:
        raise ConfigurationError("A batch without `requests` needs a journal; pass journal=...")
    inputs = NO_INPUTS if storage is None else SharedInputs(storage)
    if preflight is not None:
        preflight = preflight_for(preflight, client.host, None if journal is None else journal.path, inputs)
    return Batch(
        client,
        requests,
        threaded=threaded,
        max_in_flight=max_in_flight,
        backlog=backlog,
        journal=cast("BatchJournal | None", journal),
        output=OutputConfig(
            folder=None if download_to is None else result_folder(download_to, storage),
            templates=parse_templates(file_names),
            without_captions=without_captions,
            verify_saved=verify_saved,
            pay_again=pay_again,
        ),
        recover_pending=recover_pending,
        resume_planned=resume_planned,
        on_in_doubt=on_in_doubt,
        retry_failed=retry_failed,
        retry_transient=retry_transient,
        schedule=schedule,
        max_credits=max_credits,
        max_doubts=max_doubts,
        max_submits=max_submits,
        max_downloads=max_downloads,
        drain_signals=check_signals(drain_signals, "drain_signals") if drain_signals else (),
        webhook=WebhookConfig(url=webhook_url, source=callbacks, grace=webhook_grace),
        preflight=preflight,
        inputs=inputs,
    )
