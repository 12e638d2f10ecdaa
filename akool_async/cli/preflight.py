"""Videos are looked into before they are paid for: by `plan`, and by the same code in a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from akool_async._batch.preflight import Preflight, RequestCheck, preflight_for
from akool_async._client import AkoolClient
from akool_async._model.errors import ConfigurationError, InputError
from akool_async._model.media import Limits
from akool_async._model.requests import Request, private_inputs
from akool_async._storage import SharedInputs, Storage
from akool_async._storage.settings import bucket_location
from akool_async.cli.catalog import Catalog
from akool_async.cli.console import is_terminal, stderr
from akool_async.cli.options import OutputOptions, check_positive
from akool_async.cli.plan import Plan, PlanEntry, PlannedAction, RetryRules, make_plan
from akool_async.cli.prices import Prices
from akool_async.cli.storage import identify_inputs

_DEFAULTS: Final = Limits()
_MEGABYTE: Final = 2**20


@Parameter(name="*", group="Videos")
@attrs.frozen(kw_only=True)
class VideoLimits:
    """Which videos the vendor takes, for every command that inspects them.

    Attributes:
        max_seconds: Longest video, in seconds; the vendor's plans differ.
        max_megabytes: Largest file, in megabytes of 1,048,576 bytes.
        max_fps: Most frames a second; above 30 there is a warning.
        allow_silent: Also send videos without sound.
        checks_at_once: Videos to inspect at once.
    """

    max_seconds: Annotated[float, Parameter(validator=check_positive)] = _DEFAULTS.max_seconds
    max_megabytes: Annotated[float, Parameter(validator=check_positive)] = _DEFAULTS.max_bytes / _MEGABYTE
    max_fps: Annotated[float, Parameter(validator=check_positive)] = _DEFAULTS.max_fps
    allow_silent: Annotated[bool, Parameter(negative="")] = False
    checks_at_once: Annotated[int, Parameter(validator=Number(gte=1))] = _DEFAULTS.at_once

    @property
    def limits(self) -> Limits:
        """The same as settings of a preflight."""
        return Limits(
            max_seconds=self.max_seconds,
            max_bytes=round(self.max_megabytes * _MEGABYTE),
            max_fps=self.max_fps,
            needs_audio=not self.allow_silent,
            at_once=self.checks_at_once,
        )


@Parameter(name="*", group="Videos")
@attrs.frozen(kw_only=True)
class VideoOptions(VideoLimits):
    """Options of every command that inspects videos before they are paid for.

    Attributes:
        check: Inspect each new video, over a few HTTP ranges; what the vendor would refuse is not sent.
    """

    check: bool = True


DEFAULT_LIMITS: Final = VideoLimits()
DEFAULT_VIDEOS: Final = VideoOptions()
NO_VIDEOS: Final = VideoOptions(check=False)


async def make_checked_plan(
    catalog: Catalog,
    output: OutputOptions,
    rules: RetryRules,
    client: AkoolClient | None,
    videos: VideoOptions,
    max_credits: float | None = None,
    storage: Storage | None = None,
) -> Plan:
    """Return what a run of a catalog would do, after a look into each video that would be paid for.

    Without a client the server is asked nothing, and no video is looked into either.

    Raises:
        CatalogError, AccountError: as `make_plan`.
        ConfigurationError: results can't be saved where they are to be.
    """
    output.check_folders(storage)  # as a run would, which else refuses what its plan took
    inputs = SharedInputs(storage)
    catalog, unreadable = await identify_inputs(catalog, output, inputs)
    preflight: Preflight | None = None
    notes: tuple[str, ...] = ()
    if videos.check and client is not None:
        try:
            preflight = preflight_for(videos.limits, client.host, output.path, inputs)
        except ConfigurationError as error:
            notes = (f"No video was looked into. {error.message} {error.advice}",)
    if preflight is None:
        plan = await make_plan(catalog, output, rules, client, Prices())
    else:
        async with preflight:
            plan = await make_plan(catalog, output, rules, client, Prices(preflight.known_seconds))
            plan = await _look_into_videos(plan, preflight)
    if plan.estimate.jobs:
        # The plan checked the folders of names; the folder above them may be read-only.
        beside = any(entry.action.is_paid and "/" not in entry.item.names for entry in plan.entries)
        output.check_folders(storage, written={output.path.parent, *([output.local] if beside else ())})
    if unreadable:  # else the entries stay what they are: made one by one, where they are looked at
        entries = tuple(_readable(entry, unreadable.get(entry.item.line)) for entry in plan.entries)
        plan = plan.with_entries(entries)
    shared = any(
        url.startswith("file:") for item in plan.new_items for url in private_inputs(item.request).values()
    )
    if client is not None and storage is not None and storage.share is not None and shared:
        place = attrs.evolve(bucket_location(storage.share, "--share"), key="-")
        try:
            await inputs.sign_object(place)
        except InputError as error:  # a note: jobs at the vendor are waited for all the same
            notes += (f"No file of this machine can be sent: {error.message} {error.advice}".rstrip(),)
    return attrs.evolve(plan, notes=(*plan.notes, *notes), preflight=preflight, max_credits=max_credits)


async def _look_into_videos(plan: Plan, preflight: Preflight) -> Plan:
    checks: dict[int, RequestCheck] = {}
    requests = [item.request for item in plan.new_items]
    with looking(len(requests)) as advance:

        def done(request: Request, check: RequestCheck) -> None:
            checks[id(request)] = check
            advance.update(advance.task_ids[0], advance=1)

        await preflight.check_all(requests, done)
    entries = tuple(
        _judged(plan, entry, checks[id(entry.item.request)]) if entry.action.is_paid else entry
        for entry in plan.entries
    )
    return plan.with_entries(entries)


def _judged(plan: Plan, entry: PlanEntry, check: RequestCheck) -> PlanEntry:
    if check.refusals:
        return attrs.evolve(entry, action=PlannedAction.REFUSED, check=check)
    return attrs.evolve(entry, check=check, price=plan.prices.price(entry.item.request, check.seconds))


def _readable(entry: PlanEntry, error: InputError | None) -> PlanEntry:
    if error is None or not (entry.action.is_paid or entry.action is PlannedAction.REFUSED):
        return entry
    check = RequestCheck(refusals=(error.message,), advice=error.advice)
    return attrs.evolve(entry, action=PlannedAction.REFUSED, check=check)


@contextmanager
def looking(videos: int) -> Iterator[Progress]:
    """Show on a terminal how many videos were looked into; the line goes away at the end."""
    columns = (TextColumn("Looking into videos"), BarColumn(), MofNCompleteColumn())
    progress = Progress(
        *columns, console=stderr, transient=True, disable=not is_terminal(stderr) or not videos
    )
    progress.add_task("", total=videos)
    with progress:
        yield progress
