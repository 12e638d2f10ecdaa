"""`akool-async lipsync`."""

from __future__ import annotations

from pathlib import Path

from akool_async._core.requests import LipSyncRequest
from akool_async._core.text import without_query
from akool_async.cli.carrying_out import carry_out
from akool_async.cli.catalog import Catalog, Item, Place, names_for
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.running import ROOM, Order
from akool_async.cli.survey import Rules
from akool_async.cli.terms import ON_ASKING, Terms


def lipsync(
    video_url: str,
    audio_url: str,
    /,
    *,
    key: str | None = None,
    home: Home = IN_RESULTS,
    retry_failed: bool = False,
    terms: Terms = ON_ASKING,
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
    retry_failed
        Pay again if it failed, was refused or expired before.
    """
    request = LipSyncRequest(video_url=video_url, audio_url=audio_url, key=key)
    item = Item(request=request, names=names_for(key), place=Place("URL"))
    order = Order(
        home=home,
        rules=Rules(retry_failed=retry_failed),
        in_flight=ROOM,
        terms=terms,
    )
    wanted = Catalog(path=Path(), title=without_query(video_url), rows=1, items=(item,))
    return carry_out(wanted, order, connection)
