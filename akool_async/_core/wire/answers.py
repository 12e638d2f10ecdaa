"""What the calls that cost nothing answer: status, lists, credit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from akool_async._core.errors import ProtocolError
from akool_async._core.models import Language, Snapshot, Voice, VoicePage
from akool_async._core.text import clean
from akool_async._core.wire.envelope import Envelope
from akool_async._core.wire.fields import structure
from akool_async._core.wire.scalars import (
    as_mapping,
    read_float,
    read_id,
    read_int,
    read_text,
    read_words,
)

T = TypeVar("T")


def read_snapshot(envelope: Envelope, job_id: str) -> Snapshot:
    """Read an answer of infobymodelid about `job_id`.

    Raises:
        ProtocolError: it holds no data, or data about another job.
    """
    data = envelope.data
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict) or not data:
        raise ProtocolError(f"The vendor answered about job {job_id} without any data.")
    answered = read_text(data.get("_id"))
    if answered and answered != job_id:
        raise ProtocolError(
            f"The vendor answered about job {clean(answered)} when asked about job {job_id}.",
            job_ids=tuple(filter(None, [read_id(answered)])),
        )
    return structure(data, Snapshot, _id=job_id)


def _list_of(envelope: Envelope, name: str) -> list[Any]:
    data = envelope.data
    items = data if isinstance(data, list) else as_mapping(data).get(name)
    if not isinstance(items, list):
        raise ProtocolError(f"The vendor answered without a list {name!r}.")
    return items


def _models(items: list[Any], model: type[T], needed: str) -> Iterator[T]:
    for item in items:
        if isinstance(item, dict) and read_words(item.get(needed)):
            yield structure(item, model)


def read_languages(envelope: Envelope) -> tuple[Language, ...]:
    """Read the list of languages; one version of the API sends it bare.

    Raises:
        ProtocolError: there is no list.
    """
    return tuple(_models(_list_of(envelope, "lang_list"), Language, "lang_code"))


def read_voices(envelope: Envelope) -> VoicePage:
    """Read one page of voices.

    Raises:
        ProtocolError: there is no list.
    """
    items = _list_of(envelope, "result")
    voices = tuple(_models(items, Voice, "voice_id"))
    count = read_int(as_mapping(envelope.data).get("count"))
    return VoicePage(voices=voices, count=count, entries=len(items))


def read_credit(envelope: Envelope) -> float:
    """Read the balance, in credits.

    Raises:
        ProtocolError: there is none.
    """
    credit = read_float(as_mapping(envelope.data).get("credit"))
    if credit is None:
        raise ProtocolError("The vendor answered without a balance.")
    return credit
