"""A program with mistakes: type checkers refuse each line that says so, and no other."""

from pathlib import Path

from akool_async import AkoolClient, Limits, LipSyncRequest, State, Storage, TranslationRequest
from akool_async.ledger import EntryUpdate
from akool_async.sandbox import Fault, Sandbox

URL = "https://example.com/talk.mp4"

TranslationRequest(targets="ja")  # refused
TranslationRequest(url=URL)  # refused
TranslationRequest(url=None, targets="ja")  # refused
TranslationRequest(url=b"talk.mp4", targets="ja")  # refused
TranslationRequest(url=URL, targets=3.5)  # refused
TranslationRequest(url=URL, targets=[1])  # refused
TranslationRequest(url=URL, targets="ja", caption_type="translatd")  # refused
TranslationRequest(url=URL, targets="ja", caption_type=7)  # refused
TranslationRequest(url=URL, targets="ja", caption_type=[])  # refused
TranslationRequest(url=URL, targets="ja", caption_url=1)  # refused
TranslationRequest(url=URL, targets="ja", no_translate_words=5)  # refused
TranslationRequest(url=URL, targets="ja", voices_map=["voice"])  # refused
TranslationRequest(url=URL, targets="ja", lip_sync=True)  # refused
LipSyncRequest(video_url=URL)  # refused
LipSyncRequest(audio_url=URL)  # refused
LipSyncRequest(video_url=URL, audio_url=None)  # refused

Storage(spool=5)  # refused
Limits(advised_codecs=5)  # refused
EntryUpdate(key="talk")  # refused
EntryUpdate(key="talk", state=State.FAILED, files=5)  # refused

Fault(kind="http")  # refused
Fault(on=3, kind="http")  # refused
Fault(on="status", kind="http", nth="x")  # refused
Fault(on="status", kind="http", code="1104")  # refused
Sandbox(faults=[5])  # refused
Sandbox().faults.add(5)  # refused


async def main(client: AkoolClient) -> None:
    done = await client.translate(TranslationRequest(url=URL, targets="ja"))
    await client.download(done, into=5)  # refused
    await client.wait(5)  # refused
    await client.translate(TranslationRequest(url=URL, targets="ja"), give_up_after="5")  # refused
    print(Path(done.job_id) / 5)  # refused
