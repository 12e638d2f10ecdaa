"""`akool-async inspect`: what is in videos, and whether the vendor would take them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import attrs
from cyclopts import Parameter

from akool_async._batch.preflight import Preflight, RequestCheck
from akool_async._environment import PRODUCTION
from akool_async._model.errors import InvalidRequestError
from akool_async._model.locations import input_url
from akool_async._model.media import Limits, MediaFacts
from akool_async._model.redact import sanitize, strip_query
from akool_async._model.requests import TranslationRequest
from akool_async._storage import SharedInputs, Storage
from akool_async._storage.settings import SHORTEST
from akool_async.cli.catalog.readers import CATALOG_ENDINGS
from akool_async.cli.console import counted, fields_of, print_info, print_rows, shown_argument
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import JsonFlag
from akool_async.cli.preflight import DEFAULT_LIMITS, VideoLimits, looking

_COLUMNS: Final = {
    "video": "Video",
    "verdict": "Verdict",
    "seconds": "Seconds",
    "bytes": "Bytes",
    "picture": "Picture",
    "fps": "Fps",
    "video_codec": "Codec",
    "audio_codec": "Sound",
    "requests": "GETs",
    "bytes_read": "Read",
    "reasons": "Why",
}


def inspect(
    *videos: str,
    allow_private: Annotated[bool, Parameter(negative="")] = False,
    as_json: JsonFlag = False,
    limits: VideoLimits = DEFAULT_LIMITS,
) -> int:
    """Inspect videos and say what the vendor would refuse; this costs nothing and needs no account.

    A remote video is read in a few ranges with GET, at most 8 MiB of it. The exit code is 1 if a video would
    be refused, or could not be inspected.

    Parameters
    ----------
    videos
        URLs, files on this machine, or objects such as s3://bucket/talk.mp4.
    allow_private
        Also read from addresses of this machine and of private networks, which the vendor can't reach.
    """
    if not videos:
        raise InvalidRequestError(
            "No video is named.",
            impact="Nothing was sent.",
            advice="`akool-async inspect URL` looks into one.",
        )
    catalogs = (video for video in videos if "://" not in video)
    if catalog := next((path for path in catalogs if Path(path).suffix.lower() in CATALOG_ENDINGS), ""):
        raise InvalidRequestError(
            f"{shown_argument(catalog)} is a catalog, not a video.",
            impact="Nothing was sent.",
            advice=f"`akool-async plan {shown_argument(catalog)}` looks into its videos.",
        )
    settings = attrs.evolve(limits.limits, allow_private=allow_private)
    checks = anyio.run(_look, videos, settings)
    rows = [_row(video, check) for video, check in zip(videos, checks, strict=True)]
    print_rows(rows, _COLUMNS, as_json=as_json, optional=list(_COLUMNS)[2:-1])
    refused = sum(bool(check.refusals) for check in checks)
    unchecked = sum(bool(check.unchecked) for check in checks)
    for advice in dict.fromkeys(check.advice for check in checks if check.refusals and check.advice):
        print_info(advice)
    counts = {"would be refused": refused, "could not be looked into": unchecked}
    said = [f"{number} {what}" for what, number in counts.items() if number]
    print_info(f"{counted(len(checks), 'video')}: {', '.join(said) or 'nothing that would be refused'}.")
    return ExitCode.FAILED if refused or unchecked else ExitCode.OK


async def _look(videos: Sequence[str], limits: Limits) -> list[RequestCheck]:
    """Look into videos, several at once; return what was found in their order."""
    checks = [RequestCheck()] * len(videos)
    waiting = iter(enumerate(videos))
    async with Preflight(limits, api_host=PRODUCTION) as preflight:
        # The signature of an object is for this look alone: it gets the shortest lifetime that there is.
        preflight.inputs = SharedInputs(Storage(expires=SHORTEST))
        with looking(len(videos)) as progress:

            async def work() -> None:
                for place, video in waiting:  # one iterator for all: each takes the next one
                    source = str(input_url(video if "://" in video else Path(video)))
                    try:
                        request = TranslationRequest(url=source, targets="en")
                        checks[place] = await preflight.check(request)
                    except InvalidRequestError as error:
                        checks[place] = RequestCheck(refusals=(error.message,), advice=error.advice)
                    progress.update(progress.task_ids[0], advance=1)

            async with anyio.create_task_group() as tasks:
                for _ in range(min(limits.at_once, len(videos))):
                    tasks.start_soon(work)
    return checks


def _row(video: str, check: RequestCheck) -> dict[str, Any]:
    """Return what a program gets, and what a person sees of it; a signature in the URL is not shown."""
    facts = {} if check.facts is None else fields_of(check.facts)
    verdict = "refused" if check.refusals else "unknown" if check.unchecked else "taken"
    # What is no file may be a mistyped URL, and its signature opens the video as well.
    shown = sanitize(video) if "://" in video else strip_query(video)
    reasons = (*check.refusals, *filter(None, [check.unchecked]), *check.warnings)
    return {
        "video": video if os.path.lexists(video) else shown,
        "verdict": verdict,
        **{field.name: facts.get(field.name) for field in attrs.fields(MediaFacts)},
        "picture": f"{facts['width']}x{facts['height']}" if facts else "",
        "refusals": check.refusals,
        "warnings": check.warnings,
        "unchecked": check.unchecked,
        "advice": check.advice if check.refusals else "",
        "requests": check.requests,
        "bytes_read": check.bytes_read,
        "reasons": "; ".join(reasons),
    }
