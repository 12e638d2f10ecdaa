"""`akool-async lipsync`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._core.requests import LipSyncRequest
from akool_async._core.text import without_query
from akool_async.cli.carrying_out import carry_out
from akool_async.cli.catalog import Catalog, Item, Place, names_for
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.running import ROOM, Order
from akool_async.cli.survey import Rules


def lipsync(
    video_url: str,
    audio_url: str,
    /,
    *,
    key: str | None = None,
    home: Home = IN_RESULTS,
    yes: Annotated[bool, Parameter(negative="")] = False,
    max_credits: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    give_up_after: timedelta | None = None,
    retry_failed: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = USUAL,
) -> int:
    """Let the mouths in a video follow an audio file, and bring the result home.

    What is paid is written down in the folder's journal: run again it goes on, and pays nothing twice.

    Parameters
    ----------
    video_url
        The video's public URL; above 25 frames a second the result is worse.
    audio_url
        The audio's public URL; best as long as the video.
    key
        Your own name for it; default is a fingerprint of what is asked for.
    yes
        Spend without asking. Needed where there is no terminal to ask on.
    max_credits
        What the jobs in the journal may cost together, earlier ones included.
    give_up_after
        How long to wait, such as 90m or 2h. What is at work then goes on at the vendor.
    retry_failed
        Pay again if it failed, was refused or expired before.
    as_json
        Write events to stdout, one JSON object a line.
    """
    request = LipSyncRequest(video_url=video_url, audio_url=audio_url, key=key)
    item = Item(request=request, names=names_for(key), place=Place("URL"))
    order = Order(
        home=home,
        rules=Rules(retry_failed=retry_failed),
        in_flight=ROOM,
        max_credits=max_credits,
        patience=None if give_up_after is None else give_up_after.total_seconds(),
    )
    wanted = Catalog(path=Path(), title=without_query(video_url), rows=1, items=(item,))
    return carry_out(wanted, order, connection, yes=yes, as_json=as_json)
