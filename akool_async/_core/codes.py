"""The vendor's business codes: what each means and who can do something about it.

One table. The rules that act on it live in `failures` and `wire`; nothing here decides anything.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

SUCCESS: Final = 1000
"""The only envelope code that means success."""

_DOCS: Final = "docs.akool.com, response code table"


class CodeKind(enum.Enum):
    """Who can do something about a code, and what."""

    SUCCESS = "success"
    MISTAKE = "mistake"
    MEDIA = "media"
    DUPLICATE = "duplicate"
    CREDENTIALS = "credentials"
    CREDITS = "credits"
    ACCOUNT = "account"
    THROTTLED = "throttled"
    GONE = "gone"
    SERVER = "server"
    BUSY = "busy"
    """A server error for which the vendor itself says "try again later"."""
    UNKNOWN = "unknown"


@attrs.frozen
class Code:
    """One row of the table: the number, a short name for it, its meaning, its kind and who says so."""

    code: int
    name: str
    meaning: str
    kind: CodeKind
    source: str = _DOCS


_ROWS: Final = (
    Code(1000, "ok", "the call succeeded", CodeKind.SUCCESS),
    Code(1003, "bad_parameter", "a parameter is wrong or empty", CodeKind.MISTAKE),
    Code(1004, "verification_required", "the account has to be verified first", CodeKind.ACCOUNT),
    Code(1005, "too_frequent", "calls come too often", CodeKind.THROTTLED),
    Code(1006, "quota_exceeded", "the quota is used up", CodeKind.CREDITS),
    Code(1008, "no_such_content", "the content does not exist", CodeKind.GONE),
    Code(1009, "no_permission", "the account may not do this", CodeKind.ACCOUNT),
    Code(1010, "not_operable", "the content can't be operated on", CodeKind.MISTAKE),
    Code(1011, "already_operated", "the content was operated on already", CodeKind.MISTAKE),
    Code(1013, "audio_in_video", "the audio inside the video has to be used", CodeKind.MEDIA),
    Code(1014, "no_such_resource", "the resource does not exist", CodeKind.GONE),
    Code(1015, "processing_error", "the video could not be processed", CodeKind.BUSY),
    Code(1017, "audio_not_created", "the audio was not created", CodeKind.SERVER),
    Code(1101, "bad_token", "the token or key is wrong or has expired", CodeKind.CREDENTIALS),
    Code(1102, "no_token", "the token or key is missing", CodeKind.CREDENTIALS),
    Code(1103, "unpaid", "the account is not paid or is overdue", CodeKind.CREDITS),
    Code(1104, "out_of_credits", "there are not enough credits", CodeKind.CREDITS),
    Code(1109, "no_such_account", "the account does not exist", CodeKind.ACCOUNT),
    Code(1110, "audio_error", "the audio could not be processed", CodeKind.SERVER),
    Code(1112, "voice_error", "the voice could not be processed", CodeKind.SERVER),
    Code(1200, "account_banned", "the account is blocked", CodeKind.ACCOUNT),
    Code(1201, "audio_busy", "the audio could not be created now", CodeKind.BUSY),
    Code(
        1202,
        "duplicate_job",
        "the same video, language and lip-sync option were sent more than once",
        CodeKind.DUPLICATE,
    ),
    Code(1203, "no_audio", "the video has no audio", CodeKind.MEDIA),
    Code(1204, "too_long", "the video is longer than the plan allows", CodeKind.MEDIA),
    Code(1205, "video_busy", "the video could not be created now", CodeKind.BUSY),
    Code(1207, "too_large", "the video file is larger than the plan allows", CodeKind.MEDIA),
    Code(1208, "unreadable_video", "the video can't be read", CodeKind.MEDIA),
    Code(1209, "bad_encoding", "the video's encoding is not supported", CodeKind.MEDIA),
    Code(1210, "too_many_frames", "the frame rate is higher than allowed", CodeKind.MEDIA),
    Code(1211, "lipsync_busy", "the lip-sync could not be created now", CodeKind.BUSY),
    Code(1213, "subscription_required", "the account needs a subscription", CodeKind.ACCOUNT),
    Code(1221, "not_subscribed", "the account is not subscribed", CodeKind.ACCOUNT),
    Code(1222, "exists_already", "the resource exists already", CodeKind.DUPLICATE),
)

CODES: Final[Mapping[int, Code]] = MappingProxyType({row.code: row for row in _ROWS})
"""Every documented business code by its number."""


def describe(code: int | None) -> Code:
    """Give the row of `code`, or one of kind UNKNOWN that keeps the number.

    Args:
        code: the envelope's number; None when the envelope had none.
    """
    if code is not None and code in CODES:
        return CODES[code]
    shown = "no code" if code is None else f"code {code}"
    return Code(
        -1 if code is None else code, "unknown", f"an undocumented answer ({shown})", CodeKind.UNKNOWN, ""
    )
