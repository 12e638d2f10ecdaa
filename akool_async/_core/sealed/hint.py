"""What a webhook claims about a job, read out of the plaintext."""

from __future__ import annotations

import re

import attrs

from akool_async._core.sealed.envelope import Envelope
from akool_async._core.sealed.refusal import UnsealError
from akool_async._core.sealed.strictness import first, json_object, some_text, text_or_number, whole_number
from akool_async._core.text import url_repr

_JOB_ID = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)


@attrs.frozen(kw_only=True)
class Hint:
    """What a webhook claims about a job: worth a look at the API, never a fact of its own.

    Attributes:
        job_id: the vendor's `_id`, 1 to 128 printable ASCII characters.
        status: the vendor's number (2 processing, 3 completed, 4 failed), unknown ones kept, None if absent.
        url: where the result is said to lie, None if absent; its query is left out of the repr.
        type: the vendor's word for the kind of job.
        progress: percent from 0 to 100, None if absent or out of range.
        error_code: the vendor's error number of a failed job.
        error_reason: the vendor's text for it.
        nonce: the envelope's nonce as text.
        digest: SHA-256 hex of the four texts of the envelope, the same however the JSON around them was
            spelled: two deliveries with one digest are one message.
        content_digest: SHA-256 hex of the sealed content alone. Its key and IV never change, so a content
            that is sent again, under another nonce and signed anew, still has the same one.
        sent_at_ms: the envelope's timestamp, milliseconds since the epoch.
    """

    job_id: str
    status: int | None
    url: str | None = attrs.field(repr=url_repr)
    type: str | None
    progress: int | None
    error_code: int | None
    error_reason: str | None
    nonce: str
    digest: str
    content_digest: str
    sent_at_ms: int


def hint_in(plain: bytes, envelope: Envelope) -> Hint:
    """Read the plaintext of an envelope.

    Raises:
        UnsealError: it names no job.
    """
    fields = json_object(plain, "unreadable")
    job_id = text_or_number(fields.get("_id"))
    if job_id is None or not _JOB_ID.fullmatch(job_id):
        raise UnsealError("unreadable")
    progress = first(fields, whole_number, "progress")
    return Hint(
        job_id=job_id,
        status=first(fields, whole_number, "status", "video_status"),
        url=first(fields, some_text, "url", "video"),
        type=first(fields, some_text, "type"),
        progress=progress if progress is not None and 0 <= progress <= 100 else None,
        error_code=first(fields, whole_number, "error_code"),
        error_reason=first(fields, some_text, "error_reason", "error_message"),
        nonce=envelope.nonce,
        digest=envelope.digest,
        content_digest=envelope.content_digest,
        sent_at_ms=int(envelope.timestamp),
    )
