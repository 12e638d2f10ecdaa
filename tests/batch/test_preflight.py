"""What the vendor would refuse is refused before its POST, over real sockets, and costs nothing."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import av
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    ConfigurationError,
    Failed,
    Limits,
    LipSyncRequest,
    NotSubmitted,
    Outcome,
    Request,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._batch.preflight import Preflight, RequestCheck
from akool_async.sandbox import Fault
from tests.client.conftest import Open
from tests.media.file_host import FileHost, film
from tests.media.test_inspection import Host, host, whole

__all__ = ["host"]


def request(url: str, **options: Any) -> TranslationRequest:
    return TranslationRequest(**{"url": url, "targets": "ja"} | options)


async def outcomes_of(
    client: AkoolClient, requests: Iterable[TranslationRequest], **options: Any
) -> dict[str, Outcome]:
    with anyio.fail_after(50):
        async with open_batch(client, requests, **{"preflight": Limits()} | options) as batch:
            return {outcome.request.url: outcome async for outcome in batch}


async def only_the_good_are_paid(
    fast_house: Open,
    make: Callable[..., Request],
    field: str,
    good: Sequence[str],
    bad: Mapping[str, str],
    *,
    what: str = "",
) -> None:
    """Run requests that have these URLs in a field: the good ones are paid, the bad ones say why not."""
    requests = [make(**{field: url}) for url in (*good, *bad)]
    async with fast_house() as home:
        client = await home.client()
        with anyio.fail_after(50):
            async with open_batch(client, requests, preflight=Limits()) as batch:
                seen = {getattr(outcome.request, field): outcome async for outcome in batch}

        assert len(home.sandbox.audit.creates) == len(good)
    for url in good:
        assert isinstance(seen[url], Completed), (url, seen[url].reason)
    for url, words in bad.items():
        refused = seen[url]
        assert isinstance(refused, NotSubmitted), url
        assert refused.reason.startswith(f"Not sent, because the vendor would refuse it: {what}")
        assert words in refused.reason
        assert refused.credits == 0


async def test_only_what_the_vendor_would_take_is_sent(fast_house: Open, files: FileHost) -> None:
    good = files.add("good.mp4", film())
    bad = {
        files.add("silent.mp4", film(audio=False)): "no audio track",
        files.add("long.mp4", film(61.0, fps=1)): "61.00 s long, 60 s are allowed",
        files.add("fast.mp4", film(1.0, fps=90)): "90.00 frames a second, 59 are allowed",
        files.add("paper.mp4", b"%PDF-1.7\n"): "This is a PDF document",
        files.add("page.mp4", b"<!doctype html>"): "This is a web page",
        files.add("cut.mp4", film()[:-200]): "cut short",
        f"{files.base_url}/gone.mp4": "HTTP 404",
        "https://drive.google.com/file/d/1aBcD_efGhIjKlMnOp/view": "download?id=1aBcD_efGhIjKlMnOp",
        "https://youtu.be/dQw4w9WgXcQ": "YouTube",
    }
    await only_the_good_are_paid(fast_house, request, "url", [good], bad)

    assert {method for method, *_ in files.asked} == {"GET"}


@pytest.fixture(scope="module")
def sound() -> dict[str, bytes]:
    """Audio files of several formats, all of the same second."""
    made = {}
    for name in ("wav", "mp3", "flac", "ogg", "m4a", "adts"):
        target = io.BytesIO()
        with (
            av.open(io.BytesIO(film(1.0))) as source,
            av.open(target, "w", format={"m4a": "mp4"}.get(name, name)) as container,
        ):
            codec = {"wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac", "ogg": "libopus"}.get(
                name, "aac"
            )
            stream: Any = container.add_stream(codec, rate=48_000)
            for frame in source.decode(audio=0):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        made[f"{name}.mp3"] = target.getvalue()  # nobody believes a name
    return made


async def test_a_lip_sync_is_sent_only_with_audio_that_the_vendor_can_fetch(
    fast_house: Open, files: FileHost, sound: dict[str, bytes]
) -> None:
    video = files.add("good.mp4", film())
    good = [video, *(files.add(name, data) for name, data in sound.items())]
    files.statuses["down.mp3"] = 503
    good.append(files.add("down.mp3", b""))  # not known to be bad, as with videos
    bad = {
        f"{files.base_url}/nothere.mp3": "Audio: The server answered HTTP 404",
        files.add("page.mp3", b"<!doctype html><p>Sign in"): "Audio: This is a web page, not an audio file",
        files.add("text.mp3", b"Hello, world. " * 1000): "not an audio file in a supported format",
        files.add("silent.mp4", film(audio=False)): "no audio track",
        files.add("cut.m4a", sound["m4a.mp3"][:-200]): "cut short",
        "https://drive.google.com/file/d/1aBcD_efGhIjKlMnOp/view": "a share page of Google Drive",
        "http://192.168.0.7/speech.mp3": "a private network",
    }
    lip_sync = partial(LipSyncRequest, video_url=video)
    await only_the_good_are_paid(fast_house, lip_sync, "audio_url", good, bad, what="Audio: ")

    assert {method for method, *_ in files.asked} == {"GET"}


async def test_captions_are_looked_into_before_they_are_paid_for(fast_house: Open, files: FileHost) -> None:
    cue = "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n"
    style = "[V4+ Styles]\nFormat: Name\n\n[Events]\nFormat: Start, End, Text\n"
    good = [
        files.add("good.srt", cue.encode()),
        files.add("mark.srt", cue.encode("utf-8-sig").replace(b"\n", b"\r\n")),
        files.add("long.srt", cue.encode() * 20_000),
        files.add(
            "good.ass", f"; an editor's\n[Script Info]\n{style}Dialogue: 0:00:00.00,0:00:01.00,Hi\n".encode()
        ),
        files.add("loose.srt", b"1\n0:0:0 --> 0:0:1\nHello\n"),  # nobody knows what the vendor reads
        files.add("down.srt", b""),
    ]
    files.statuses["down.srt"] = 503
    bad = {
        f"{files.base_url}/nothere.srt": "Captions: The server answered HTTP 404",
        files.add("page.srt", b"<!doctype html><!-- --> Sign in"): "This is a web page, not a subtitle file",
        files.add("error.srt", b'{"error": "expired"}'): "This is a JSON document, not a subtitle file",
        files.add("empty.srt", b""): "Captions: The file is empty",
        files.add("blank.srt", b"\xef\xbb\xbf\r\n"): "Captions: There are no subtitles in the file",
        files.add("text.srt", b"Hello, world.\n" * 1000): "There are no subtitles in the file",
        files.add("silent.ass", f"[Script Info]\n{style}".encode()): "There are no subtitles in the file",
        files.add("film.srt", film()): "There are no subtitles in the file",
        "https://drive.google.com/file/d/1aBcD_efGhIjKlMnOp/view": "a share page of Google Drive",
        "http://192.168.0.7/talk.srt": "a private network",
    }
    video = files.add("good.mp4", film())
    captioned = partial(request, video, caption_type=2)
    await only_the_good_are_paid(fast_house, captioned, "caption_url", good, bad, what="Captions: ")

    assert [path for _, path, _ in files.asked].count("/good.mp4") == 1


async def test_a_refused_video_is_looked_at_again_by_the_next_run(
    fast_house: Open, files: FileHost, tmp_path: Path
) -> None:
    url = files.add("talk.mp4", film(audio=False))
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        first = await outcomes_of(client, [request(url)], journal=journal)
        files.add("talk.mp4", film())
        second = await outcomes_of(client, [request(url)], journal=journal)

    assert isinstance(first[url], NotSubmitted)
    assert isinstance(second[url], Completed)


async def test_what_the_journal_has_is_not_looked_at(
    fast_house: Open, files: FileHost, tmp_path: Path
) -> None:
    url = files.add("talk.mp4", film())
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await outcomes_of(client, [request(url)], journal=journal)
        asked = len(files.asked)
        await outcomes_of(client, [request(url)], journal=journal)

    assert len(files.asked) == asked


async def test_a_video_that_can_not_be_looked_into_here_is_sent(fast_house: Open, files: FileHost) -> None:
    url = files.add("talk.mp4", film())
    files.statuses["talk.mp4"] = 503
    async with fast_house() as home:
        seen = await outcomes_of(await home.client(), [request(url)])

    assert isinstance(seen[url], Completed)


async def test_private_addresses_are_refused_when_that_is_said(fast_house: Open, files: FileHost) -> None:
    url = files.add("talk.mp4", film())
    async with fast_house() as home:
        seen = await outcomes_of(await home.client(), [request(url)], preflight=Limits(allow_private=False))

        assert "private network" in seen[url].reason
        assert home.sandbox.audit.creates == ()
    assert files.asked == []


async def test_videos_are_looked_into_at_the_same_time_and_not_far_ahead_of_the_posts(
    fast_house: Open, files: FileHost
) -> None:
    urls = [files.add(f"{number}.mp4", film()) for number in range(12)]
    pulled: list[str] = []
    most_waiting = 0
    files.opens_at = 4  # nothing is answered before so many are asked for at once

    async def source() -> AsyncIterator[TranslationRequest]:
        nonlocal most_waiting
        for url in urls:
            pulled.append(url)
            most_waiting = max(most_waiting, len(pulled) - len(home.sandbox.audit.creates))
            yield request(url)

    async with fast_house() as home:
        batch = open_batch(
            await home.client(), source(), preflight=Limits(at_once=4), max_in_flight=2, backlog=40
        )
        with anyio.fail_after(50):
            async with batch:
                outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.creates) == 12
    assert {type(outcome) for outcome in outcomes} == {Completed}
    assert files.most_at_once == 4
    assert most_waiting <= 4 + 2


async def test_the_languages_of_one_video_share_a_look(fast_house: Open, files: FileHost) -> None:
    url = files.add("talk.mp4", film())
    async with fast_house() as home:
        batch = open_batch(
            await home.client(),
            [TranslationRequest(url=url, targets="ja,fr,de,es")],
            preflight=Limits(),
            max_in_flight=1,
        )
        with anyio.fail_after(50):
            async with batch:
                outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) == 4
    assert len(outcomes) == 4
    assert len(files.asked) == 1


async def test_a_batch_that_is_drained_while_it_looks_sends_nothing(
    fast_house: Open, files: FileHost, tmp_path: Path
) -> None:
    urls = [files.add(f"{number}.mp4", film()) for number in range(6)]
    files.opens_at = 1_000  # the host answers nobody until the test says so
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        batch = open_batch(client, map(request, urls), journal=journal, preflight=Limits(at_once=3))
        with anyio.fail_after(50):
            async with batch:
                while len(files.asked) < 3:
                    await anyio.sleep(0.01)
                batch.drain("Enough.")
                files.opened.set()
                outcomes = [outcome async for outcome in batch]

        assert home.sandbox.audit.creates == ()
        assert sum(journal.counts().values()) == 0
        assert {type(outcome) for outcome in outcomes} == {NotSubmitted}
        assert len(outcomes) <= 4
        files.opens_at = 0
        again = await outcomes_of(client, map(request, urls), journal=journal)

    assert {type(outcome) for outcome in again.values()} == {Completed}


async def test_what_failed_is_looked_into_before_it_is_paid_again(
    fast_house: Open, files: FileHost, tmp_path: Path
) -> None:
    url = files.add("talk.mp4", film())
    fault = Fault(on="create", kind="job_fails")
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=[fault]) as home:
        client = await home.client()
        first = await outcomes_of(client, [request(url)], journal=journal)
        files.add("talk.mp4", film(audio=False))
        again = await outcomes_of(client, [request(url)], journal=journal, retry_failed=True)

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(first[url], Failed)
    assert isinstance(again[url], NotSubmitted)
    assert "no audio" in again[url].reason


async def test_a_submitted_request_is_looked_into(fast_house: Open, files: FileHost, tmp_path: Path) -> None:
    url = files.add("talk.mp4", film(audio=False))
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        batch = open_batch(await home.client(), journal=journal, preflight=Limits())
        with anyio.fail_after(50):
            async with batch:
                outcome = await (await batch.submit(request(url))).outcome()

    assert isinstance(outcome, NotSubmitted)
    assert "no audio" in outcome.reason


async def test_without_pyav_a_batch_says_what_to_install(
    fast_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with fast_house() as home:
        client = await home.client()
        with pytest.raises(ConfigurationError, match=r"akool-async\[media\]"):
            open_batch(client, [], preflight=Limits())


# What a job may cost, before it is made.


async def test_a_first_job_that_would_exceed_max_credits_is_not_made(
    fast_house: Open, files: FileHost
) -> None:
    url = files.add("talk.mp4", film(21.0, fps=1))
    async with fast_house(media=True) as home:
        client = await home.client()
        seen = await outcomes_of(client, [request(url, lipsync=True)], max_credits=29.0)
        reason = seen[url].reason
        assert home.sandbox.audit.creates == ()
        fits = await outcomes_of(client, [request(url, lipsync=True)], max_credits=30.0)

    assert "max_credits (29) would be exceeded" in reason
    assert "estimated at up to 30" in reason
    assert isinstance(fits[url], Completed)


async def test_a_budget_is_used_up_by_jobs_of_different_lengths(fast_house: Open, files: FileHost) -> None:
    urls = [files.add(f"{number}.mp4", film(length, fps=1)) for number, length in enumerate((35.0, 5.0, 5.0))]
    async with fast_house(media=True) as home:
        seen = await outcomes_of(await home.client(), [request(url) for url in urls], max_credits=12.0)

        assert sum(job.credits for job in home.sandbox.audit.jobs) == 12.0
    assert all(isinstance(outcome, Completed) for outcome in seen.values())


@pytest.mark.parametrize("rate", [0.5, 2.0, 7.0])
async def test_a_wrong_tariff_spends_no_more_than_one_job_too_much(
    fast_house: Open, files: FileHost, tmp_path: Path, rate: float
) -> None:
    lengths = (5.0, 25.0, 15.0, 5.0, 35.0)
    urls = [files.add(f"{number}.mp4", film(length, fps=1)) for number, length in enumerate(lengths)]
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        fast_house(media=True, credits_per_10s=rate) as home,
    ):
        client = await home.client()
        for _ in range(2):  # the second run learns from the journal
            await outcomes_of(client, [request(url) for url in urls], max_credits=15.0, journal=journal)

        costs = [job.credits for job in home.sandbox.audit.jobs]
        assert sum(costs) <= 15.0 + max(costs, default=0.0)
        assert costs or rate == 7.0


# By itself: how often it asks, and what it keeps.


async def look(preflight: Preflight, *urls: str) -> list[RequestCheck]:
    found: list[RequestCheck] = []
    with anyio.fail_after(50):
        async with preflight:
            await preflight.check_all(map(request, urls), lambda _, check: found.append(check))
    return found


async def test_facts_are_kept_between_runs_by_url_and_etag(files: FileHost, tmp_path: Path) -> None:
    url, cache = files.add("talk.mp4", film()), tmp_path / "jobs.sqlite3.media"
    (first,) = await look(
        Preflight(Limits(), api_host=files.base_url, cache=cache), f"{url}?X-Amz-Signature=abc"
    )
    asked, sent = len(files.asked), files.sent

    (again,) = await look(
        Preflight(Limits(), api_host=files.base_url, cache=cache), f"{url}?X-Amz-Signature=xyz"
    )

    assert again == first
    assert (len(files.asked) - asked, files.sent - sent) == (1, 0)
    with sqlite3.connect(cache) as kept:
        rows = kept.execute("SELECT * FROM video").fetchall()
    kept.close()
    assert len(rows) == 1
    assert "Signature" not in cache.read_bytes().decode("latin-1")
    assert "talk" not in str(rows)


@pytest.mark.parametrize("conditions", [True, False])
async def test_a_video_that_changed_is_looked_at_again(
    files: FileHost, tmp_path: Path, *, conditions: bool
) -> None:
    files.conditions = conditions
    url, cache = files.add("talk.mp4", film(2.0)), tmp_path / "jobs.sqlite3.media"
    seconds = []
    for length in (2.0, 2.0, 5.0):
        files.add("talk.mp4", film(length))
        (check,) = await look(Preflight(Limits(), api_host=files.base_url, cache=cache), url)
        seconds.append(check.facts and check.facts.seconds)

    assert seconds == pytest.approx([2.0, 2.0, 5.0], abs=0.1)


async def test_two_videos_whose_queries_name_them_are_two(files: FileHost, tmp_path: Path) -> None:
    url, cache = files.add("get", film()), tmp_path / "jobs.sqlite3.media"
    await look(Preflight(Limits(), api_host=files.base_url, cache=cache), f"{url}?id=1", f"{url}?id=2")

    with sqlite3.connect(cache) as kept:
        assert kept.execute("SELECT count(*) FROM video").fetchone() == (2,)
    kept.close()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00 but not really"])
async def test_a_broken_cache_costs_requests_and_nothing_else(
    files: FileHost, tmp_path: Path, content: bytes
) -> None:
    url, cache = files.add("talk.mp4", film()), tmp_path / "jobs.sqlite3.media"
    cache.write_bytes(content)

    (check,) = await look(Preflight(Limits(), api_host=files.base_url, cache=cache), url)

    assert check.facts is not None


async def test_one_video_in_many_rows_is_looked_into_once(files: FileHost) -> None:
    url = files.add("talk.mp4", film())

    checks = await look(Preflight(Limits(), api_host=files.base_url), *[url] * 20)

    assert len(checks) == 20
    assert len(files.asked) == 1


@pytest.mark.parametrize(
    "location", ["https://xn--/x", "https://xn--a.de/x", "https://[::1", "https://a..de/"]
)
async def test_a_redirect_to_what_is_no_host_ends_no_other_job(
    fast_house: Open, host: Host, location: str
) -> None:
    host.answer = whole(b"", 302, location=location)
    async with fast_house() as home:
        client = await home.client()
        seen = await outcomes_of(client, [request("https://example.com/1.mp4"), request(host.url)])

    # Like every host that does not answer this machine, it may answer the vendor.
    assert [type(outcome) for outcome in seen.values()] == [Completed] * 2


class Odd(Preflight):
    """Fails in a way that nobody has foreseen, but for one video."""

    async def check(self, request: Request) -> RequestCheck:
        if request.url.endswith("good.mp4"):
            return RequestCheck()
        raise RuntimeError("https://example.com/?sig=secret")


async def test_an_unforeseen_error_of_a_look_keeps_its_own_request_from_being_sent(fast_house: Open) -> None:
    good, bad = "https://example.com/good.mp4", "https://example.com/bad.mp4"
    async with fast_house() as home:
        client = await home.client()
        odd = Odd(Limits(), api_host=home.server.base_url)
        seen = await outcomes_of(client, [request(bad), request(good)], preflight=odd)
        assert len(home.sandbox.audit.creates) == 1

    assert isinstance(seen[good], Completed)
    assert isinstance(seen[bad], NotSubmitted)
    assert "inspecting its files failed: RuntimeError. Nothing was spent" in seen[bad].reason


async def test_no_more_than_the_limit_are_looked_into_at_once(files: FileHost) -> None:
    urls = [files.add(f"{number}.mp4", film()) for number in range(40)]
    files.opens_at = 5

    checks = await look(Preflight(Limits(at_once=5), api_host=files.base_url), *urls)

    assert [check.refusals for check in checks] == [()] * 40
    assert files.most_at_once == 5


async def test_names_for_examples_are_not_asked_where_the_api_is_a_sandbox(files: FileHost) -> None:
    (check,) = await look(Preflight(Limits(), api_host=files.base_url), "https://a.example/1.mp4")
    (real,) = await look(Preflight(Limits(), api_host="https://openapi.akool.com"), "https://a.example/1.mp4")

    assert check == RequestCheck()
    assert "no public DNS name" in real.reason


@pytest.mark.parametrize("resolves", [True, False])
async def test_a_missing_name_counts_where_this_machine_finds_others(
    monkeypatch: pytest.MonkeyPatch, *, resolves: bool
) -> None:
    import socket

    def answer(name: Any, *_: Any, **__: Any) -> Any:
        if resolves and b"openapi.akool.com" in (name, str(name).encode()):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    (check,) = await look(
        Preflight(Limits(), api_host="https://openapi.akool.com"), "https://v.akool-test.com/1"
    )

    assert bool(check.refusals) is resolves
    assert bool(check.unchecked) is not resolves
