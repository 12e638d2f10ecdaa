"""Bringing one result home: what is fetched, under which name, and a URL that does not open any more."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import attrs

from akool_async._client.agent import user_agent
from akool_async._core.artifacts import urls_of
from akool_async._core.errors import DownloadFailed, InvalidRequest, JobGone
from akool_async._core.models import Snapshot
from akool_async._core.names import USUAL, is_safe
from akool_async._core.outcomes import Completed, Saved
from akool_async._core.provenance import provenance
from akool_async._core.text import clean
from akool_async._download import AWAY, Delivery, Downloads, Parcel


@attrs.frozen(kw_only=True)
class Wish:
    """What is to be brought home.

    Attributes:
        done: a completed job.
        stem: folder and name, without ending.
        captionless: whether the video without burnt-in captions is wanted too.
        overwrite: whether files that stand there are replaced.
        known: whether a result that is home already is taken as it is.
    """

    done: Completed | Snapshot
    stem: Path
    captionless: bool = False
    overwrite: bool = False
    known: bool = False

    @property
    def snapshot(self) -> Snapshot:
        """The answer that said that the job is completed."""
        return self.done if isinstance(self.done, Snapshot) else self.done.snapshot

    def parcel(self, now: datetime) -> Parcel:
        """Give what the room of the file hosts needs to know.

        Raises:
            InvalidRequest: there is no result.
        """
        snapshot = self.snapshot
        if not snapshot.url:
            raise InvalidRequest(
                f"Job {snapshot.job_id} has no result to download (status {snapshot.status.name})."
            )
        return Parcel(
            owner=snapshot.job_id,
            urls=urls_of(snapshot, captionless=self.captionless),
            stem=self.stem,
            about=provenance(self.done, saved_at=now, program=user_agent()),
            overwrite=self.overwrite,
            known=self.known,
        )


async def bring_home(
    wish: Wish, downloads: Downloads, status: Callable[[str], Awaitable[Snapshot]], now: datetime
) -> Saved:
    """Download; a URL that does not open is asked for once more.

    Raises:
        InvalidRequest: there is no result, or a file is there already.
        DownloadFailed: a file did not come whole.
    """
    parcel = wish.parcel(now)
    try:
        return await Delivery(downloads, parcel).run()
    except DownloadFailed as error:
        if error.http_status not in AWAY:
            raise
    urls = dict(parcel.urls)
    with contextlib.suppress(JobGone):  # there are no fresher ones then; what is home counts all the same
        urls |= urls_of(await status(parcel.owner), captionless=wish.captionless)
    return await Delivery(downloads, attrs.evolve(parcel, urls=urls, fresh=True)).run()


def name_of(done: Completed | Snapshot, name: str | None) -> str:
    """Give the name of the files: the caller's, or one made of what is known.

    Raises:
        InvalidRequest: the caller's is no plain file name.
    """
    if name is not None:
        if not is_safe(name):
            raise InvalidRequest(f"name must be a plain file name, not {clean(repr(name))}.")
        return name
    return done.job_id if isinstance(done, Snapshot) else USUAL.name(done.request, done.target)
