"""The unguessable part of a webhook URL, and what a callback that came with it is worth."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from akool_async._model.errors import ConfigurationError, JobNotFoundError
from akool_async._model.proofs import is_of_its_time
from akool_async._model.redact import sanitize, url_repr
from akool_async._model.requests import is_http_url
from akool_async._model.responses import Callback, Snapshot

if TYPE_CHECKING:
    from akool_async._client.client import AkoolClient

_TOKEN_BYTES: Final = 16


def new_token() -> str:
    """Return an unguessable token for the webhook URL of one POST for one language.

    A callback that comes with it is about that POST, which resolves it when it is in doubt.
    """
    return secrets.token_hex(_TOKEN_BYTES)


def with_token(url: str, token: str) -> str:
    """Return a webhook URL with a token as the last part of its path, where receivers look for it.

    Args:
        url: where the vendor shall call back, such as "https://hooks.example.com/akool".
        token: from `new_token`.

    Raises:
        ConfigurationError: it is not an http or https URL, or too long with the token.
    """
    if is_http_url(url):
        parts = urlsplit(url)
        addressed = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{token}"))
        if is_http_url(addressed):
            return addressed
    raise ConfigurationError(
        "webhook_url must be an http or https URL of at most 8,192 characters, its token included, not "
        f"{sanitize(url_repr(url))}."
    )


async def confirm(
    client: AkoolClient, callback: Callback, *, sent_at: datetime | None = None
) -> Snapshot | None:
    """Ask the API about the job that a callback names: a callback is a hint and can be forged.

    Args:
        client: of the account whose POST the callback is about.
        callback: as a receiver gives it; its token has to be one that was sent.
        sent_at: when the POST was sent, aware. The job must have been made at about that time: at most two
            minutes before, and as much more as the vendor's clock is behind, and at most one day after. None
            accepts a job of any time.

    Returns:
        The job as the API shows it, or None: the account has no such job, or it was not made at that time, as
        far as the API says. None does not prove that the POST made no job.

    Raises:
        AkoolError: the API could not be asked, which proves nothing; ask again.
    """
    (answer,) = (await client.session.confirm((callback.job_id,))).values()
    if isinstance(answer, JobNotFoundError):
        return None
    if not isinstance(answer, Snapshot):
        raise answer
    ahead = client.session.clock.now() - client.session.server_now()
    if sent_at is not None and not is_of_its_time(answer.created_at, sent_at, ahead=ahead):
        return None
    return answer
