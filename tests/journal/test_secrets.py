"""No secret reaches a byte of the files, a repr, an export or an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from akool_async._download.manifest import _describe
from akool_async._journal import Journal, open_journal
from akool_async._journal.entry import dump_request
from akool_async._model.errors import JournalError
from akool_async._model.fingerprint import fingerprint
from akool_async._model.requests import REQUEST_KINDS, LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import AudioSplits, Snapshot
from akool_async._model.states import State
from tests.conftest import CANARY
from tests.journal.conftest import step

SIGNED = (
    f"https://user:{CANARY}@bucket.s3.example.com/talk.mp4"
    f"?X-Amz-Signature={CANARY}&versionId=3&X-Amz-Credential={CANARY}#token={CANARY}"
)
REQUESTS: tuple[Request, ...] = (
    TranslationRequest(url=SIGNED, targets=("ja", "fr"), caption_url=SIGNED, webhook_url=SIGNED, key="talk"),
    LipSyncRequest(video_url=SIGNED, audio_url=SIGNED, webhook_url=SIGNED, key="lips"),
)
URLS = [
    (kind, field.name)
    for kind in REQUEST_KINDS
    for field in attrs.fields(kind)
    if "url" in field.name and field.name != "url_is_public"
]


@pytest.mark.parametrize(("kind", "name"), URLS)
def test_each_url_of_a_request_is_kept_without_what_signs_it(kind: type[Request], name: str) -> None:
    plain: dict[str, str] = {"url": "https://media.test/talk.mp4", "targets": "ja"}
    if kind is LipSyncRequest:
        plain = {"video_url": "https://media.test/face.mp4", "audio_url": "https://media.test/voice.wav"}
    signed, again = (
        kind(**{**plain, name: SIGNED.replace("X-Amz-Credential=", f"X-Amz-Credential={n}")}) for n in "12"
    )

    assert CANARY not in f"{signed!r}{dump_request(signed)}{_describe(signed)}"
    assert fingerprint(signed, signed.targets[0]) == fingerprint(again, again.targets[0])


async def use(journal: Journal) -> list[str]:
    """Write everything that a secret can come in with; give what is shown of it."""
    shown: list[str] = []
    await journal.intend(*REQUESTS)
    snapshot = Snapshot(
        job_id="job-1",
        url=SIGNED,
        error_reason=f"can't fetch {SIGNED}",
        audio_splits=AudioSplits(original_srt_url=SIGNED, translated_srt_url=SIGNED),
        raw={"video": SIGNED},
    )
    await journal.record(step(State.SUBMITTED), step(State.COMPLETED, snapshot=snapshot))
    await journal.record(step(State.IN_DOUBT, target="fr", reason=f"no answer about {SIGNED}"))
    for change in (step(State.PLANNED, request=REQUESTS[0]), step(State.PLANNED, "new", reason=SIGNED)):
        with pytest.raises(JournalError) as caught:
            await journal.record(change)
        shown += [str(caught.value), repr(caught.value)]
    shown += [repr(entry) async for entry in journal.entries()]
    shown += [line async for line in journal.export()]
    return [*shown, repr(journal)]


async def test_no_byte_of_the_files_holds_a_secret(path: Path) -> None:
    async with open_journal(path) as journal:
        await use(journal)
        texts = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    texts["closed"] = path.read_bytes()

    assert {"jobs.sqlite3", "jobs.sqlite3-wal", "jobs.sqlite3.lock"} < set(texts)
    assert b"bucket.s3.example.com/talk.mp4" in texts["closed"]
    assert b"versionId" not in texts["closed"]
    for name, text in texts.items():
        assert CANARY.encode() not in text, name


async def test_nothing_that_is_shown_holds_a_secret(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        shown = await use(journal)

    assert len(shown) == 4 + 3 + 3 + 1
    assert CANARY not in "\n".join(shown)


async def test_a_token_is_found_but_not_shown(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        await journal.intend(REQUESTS[1], token=CANARY)
        entry = journal.find_token(CANARY)
        lines = [line async for line in journal.export()]

    assert entry is not None
    assert entry.token == CANARY
    assert CANARY not in repr(entry)
    assert CANARY not in "".join(lines)


async def test_a_request_that_lost_its_query_says_so(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        url = "https://e.com/talk.mp4"
        plain = TranslationRequest(url=url, targets="de", key="plain")
        public = TranslationRequest(url=f"{url}?v=1", targets="de", key="public", url_is_public=True)
        await journal.intend(*REQUESTS, plain, public)

        stripped = {entry.key: entry.url_redacted async for entry in journal.entries()}
    assert stripped == {"talk": True, "lips": True, "plain": False, "public": False}
