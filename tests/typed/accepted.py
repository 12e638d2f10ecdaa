"""A program that a user may write: type checkers accept all of it."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from akool_async import (
    AkoolClient,
    CaptionType,
    Completed,
    Failed,
    FixedSchedule,
    Limits,
    LipSyncRequest,
    RetryPolicy,
    Secret,
    State,
    Storage,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async.captions import CaptionLimits
from akool_async.ledger import EntryUpdate
from akool_async.sandbox import Fault, FaultKind, MediaLimits, Sandbox, SandboxLanguage

URL = "https://example.com/talk.mp4"


def requests(languages: list[str], voices: dict[str, str]) -> Iterator[TranslationRequest]:
    yield TranslationRequest(url=URL, targets="ja,fr", key="talk")
    yield TranslationRequest(url=Path("talk.mp4"), targets=languages, caption_url=Path("talk.srt"))
    yield TranslationRequest(url=URL, targets=("ja", "fr"), caption_type="translated", caption_url=None)
    yield TranslationRequest(url=URL, targets={"ja", "fr"}, caption_type=CaptionType.TRANSLATED)
    yield TranslationRequest(url=URL, targets=iter(languages), caption_type=4, voices_map=voices)
    yield TranslationRequest(
        url=URL,
        targets="ja",
        no_translate_words=["Akool"],
        fixed_words={"a": "b"},
        pronounced_words={"a": "b"},
        style="calm",
        webhook_url=None,
    )


LipSyncRequest(video_url=Path("talk.mp4"), audio_url=Path("talk.mp3"))
LipSyncRequest(video_url=URL, audio_url="s3://bucket/talk.mp3", key=None)

Storage(share="s3://bucket", spool="spool", options={"aws_region": "eu-central-1"})
Storage(spool=Path("spool"))
Limits(advised_codecs={"h264", "hevc"}, allow_private=True)
Limits(advised_codecs="h264")
CaptionLimits(max_line=None)
RetryPolicy(attempts=3, jitter=lambda seconds: seconds)
EntryUpdate(key="talk", target="ja", state=State.FAILED, files=[Path("talk.mp4"), "talk.srt"])
EntryUpdate(key="talk", state=State.IN_DOUBT, doubt_ids=["66a0b1c2d3e4f5a6b7c8d9e0"])

Fault(on="status", kind="http", status=503, nth=(1, 2))
Fault(on="create", kind=FaultKind.CODE, code=1104, nth=range(1, 3))
Fault(on="create", kind="job_fails", nth=2, value="The audio is missing.")
Fault(on="status", kind="stuck", nth=[1, 2], acted=None)
MediaLimits(codecs={"h264"})
Sandbox(faults="create:reset")
sandbox = Sandbox(
    faults=["create:reset", Fault(on="cdn", kind="drip")],
    languages=[SandboxLanguage(code="ja", name="Japanese")],
    allow_remote=["akool.example"],
    api_key="k" * 20,
    progress="linear",
)
sandbox.faults.add("create:reset", Fault(on="cdn", kind="drip"))


async def main(since: datetime) -> None:
    async with AkoolClient(api_key=Secret("k" * 20), schedule=FixedSchedule(interval=5)) as client:
        done = await client.translate(TranslationRequest(url=URL, targets="ja"), give_up_after=60)
        name: str = done.job_id
        saved = await client.download(done, into=Path("out"), name=name)
        print(saved.video.name)
        submission = await client.submit(TranslationRequest(url=URL, targets=["ja", "fr"]))
        for job in submission.accepted:
            snapshot = await client.wait(job, created_at=since)
            await client.download(snapshot, into="out")
            await client.download(job, into="out")
            await client.status(job)
            async for seen in client.watch(
                job, created_at=since, give_up_after=60.0, schedule=FixedSchedule()
            ):
                print(seen.progress)
        async with (
            open_journal(Path("jobs.sqlite3")) as journal,
            open_batch(client, requests(["ja"], {}), journal=journal, download_to=Path("out")) as batch,
        ):
            async for outcome in batch:
                match outcome:
                    case Completed(saved=files) if files is not None:
                        print(outcome.job_id, files.video)
                    case Failed():
                        print(outcome.job_id, outcome.may_pass)
                    case _:
                        print(outcome.key, outcome.job_id, outcome.reason)
