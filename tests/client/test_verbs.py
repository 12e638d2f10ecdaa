"""Every verb of the client, against the sandbox over real sockets, in every way to build a client."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from akool_async import (
    DownloadError,
    InvalidRequestError,
    JobFailed,
    JobNotFoundError,
    LipSyncRequest,
    PermissionDeniedError,
    Status,
    WaitTimeout,
)
from akool_async.sandbox import Fault
from akool_async.sandbox import api as lookups
from tests.client.conftest import KEY, Open, video


async def test_lists_languages_and_tells_which_need_a_voice(house: Open) -> None:
    async with house() as home:
        languages = await (await home.client()).languages()

    assert len(languages) >= 30
    assert {"ja", "fr"} <= {language.code for language in languages}
    assert any(language.needs_voice for language in languages)


async def test_gives_all_pages_of_voices_each_voice_once(house: Open) -> None:
    async with house() as home:
        client = await home.client()
        voices = [voice async for voice in client.voices()]
        one = [voice async for voice in client.voices(voices[0].language_code)]

    assert len(voices) > 200
    assert len({voice.voice_id for voice in voices}) == len(voices)
    assert one
    assert {voice.language_code for voice in one} == {voices[0].language_code}


async def test_knows_the_balance_and_sees_credits_being_locked(house: Open) -> None:
    async with house(credits=50.0) as home:
        client = await home.client()
        before = await client.credit()
        await client.submit(video())
        after = await client.credit()

    assert before == 50.0
    assert after < before


@pytest.mark.parametrize("api_version", ["current", "legacy"])
async def test_translates_one_video(house: Open, api_version: str) -> None:
    async with house(api_version=api_version) as home:
        client = await home.client()
        done = await client.translate(video(lipsync=True, key="talk"), give_up_after=30)

        assert len(home.sandbox.audit.jobs) == 1
    assert done.key == "talk"
    assert done.target == "ja"
    assert done.snapshot.status is Status.COMPLETED
    assert done.snapshot.url.startswith("http")
    assert done.snapshot.job_id == done.job.id


async def test_translates_with_an_id_and_secret(house: Open) -> None:
    async with house(client_id="someone", client_secret=KEY) as home:
        client = await home.client(client_id="someone", client_secret=KEY)
        done = await client.translate(video(), give_up_after=30)

        assert home.sandbox.audit.tokens_issued == 1
    assert done.snapshot.status is Status.COMPLETED


async def test_submits_several_languages_in_one_post(house: Open) -> None:
    async with house() as home:
        client = await home.client()
        submission = await client.submit(video(targets=["ja", "fr", "hi"]))

        assert [job.target for job in submission.accepted] == ["ja", "fr", "hi"]
        assert len(home.sandbox.audit.creates) == 1
        assert {job.id for job in home.sandbox.audit.jobs} == set(submission.job_ids)
    assert (submission.refused, submission.missing, submission.extra) == ((), (), ())


async def test_lip_syncs(house: Open) -> None:
    request = LipSyncRequest(video_url="https://example.com/v.mp4", audio_url="https://example.com/a.wav")
    async with house() as home:
        done = await (await home.client()).translate(request, give_up_after=30)

    assert done.target == ""
    assert done.snapshot.status is Status.COMPLETED


async def test_sends_every_documented_option(house: Open) -> None:
    request = video(
        source_language="en",
        lipsync=True,
        speaker_num=2,
        remove_bgm=True,
        caption_type="translated",
        caption_url="https://example.com/c.srt",
        voices_map={"ja": "v1"},
        no_translate_words=["Akool"],
        style="calm",
        fixed_words={"cat": "neko"},
        pronounced_words={"SQL": "sequel"},
        dynamic_duration=True,
    )
    async with house() as home:
        await (await home.client()).submit(request)
        sent = home.sandbox.audit.creates[0].payload

    assert sent == {
        "url": "https://example.com/1.mp4",
        "source_language": "en",
        "language": "ja",
        "lipsync": True,
        "speaker_num": 2,
        "remove_bgm": True,
        "caption_type": 4,
        "caption_url": "https://example.com/c.srt",
        "voices_map": {"ja": {"voice_id": "v1"}},
        "studio_voice": {
            "no_translate_words": ["Akool"],
            "style": "calm",
            "fixed_words": {"cat": "neko"},
            "pronounced_words": {"SQL": "sequel"},
        },
        "dynamic_duration": True,
    }


async def test_watches_a_job_to_its_end(house: Open) -> None:
    async with house() as home:
        client = await home.client()
        job = (await client.submit(video())).accepted[0]
        seen = [snapshot async for snapshot in client.watch(job.id)]

    assert seen[-1].status is Status.COMPLETED
    assert [snapshot.status for snapshot in seen] == sorted(snapshot.status for snapshot in seen)
    assert len(set(map(repr, seen))) == len(seen)


async def test_a_failed_job_is_an_error_that_says_why(house: Open) -> None:
    async with house(failure_rate=1.0) as home:
        client = await home.client()
        with pytest.raises(JobFailed) as caught:
            await client.translate(video(), give_up_after=30)

    assert caught.value.snapshot is not None
    assert caught.value.error_code == caught.value.snapshot.error_code
    assert str(caught.value.error_code) in str(caught.value)
    assert caught.value.job_id in str(caught.value)


async def test_an_unknown_job_is_gone(house: Open) -> None:
    async with house() as home:
        with pytest.raises(JobNotFoundError):
            await (await home.client()).status("0" * 24)


async def test_impatience_names_the_job_and_says_that_it_goes_on(house: Open) -> None:
    async with house(time_scale=1.0) as home:
        client = await home.client()
        with pytest.raises(WaitTimeout, match="continues at the vendor and is billed") as caught:
            await client.translate(video(), give_up_after=0.05)

        assert caught.value.job_id == home.sandbox.audit.jobs[0].id
    assert caught.value.job_id in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), "5", True])
async def test_translate_checks_its_patience_before_it_pays(fast_house: Open, seconds: Any) -> None:
    async with fast_house() as home:
        with pytest.raises(InvalidRequestError, match="give_up_after"):
            await (await home.client()).translate(video(), give_up_after=seconds)

        assert home.sandbox.audit.creates == ()


async def test_translate_tells_the_job_that_it_can_ask_about_no_more(house: Open, caplog) -> None:
    async with house(faults=[Fault(on="status", kind="code", code=1200)]) as home:
        with caplog.at_level(logging.WARNING, "akool_async"), pytest.raises(PermissionDeniedError):
            await (await home.client()).translate(video())

        (job,) = home.sandbox.audit.jobs
    assert job.id in caplog.text


async def test_translate_tells_of_a_job_that_was_not_asked_for(house: Open, caplog) -> None:
    async with house(faults=[Fault(on="create", kind="extra_language")]) as home:
        with caplog.at_level(logging.WARNING, "akool_async"):
            done = await (await home.client()).translate(video())

        (extra,) = {job.id for job in home.sandbox.audit.jobs} - {done.job.id}
    assert extra in caplog.text


async def test_translate_takes_one_target_and_sends_nothing_else(house: Open) -> None:
    async with house() as home:
        with pytest.raises(InvalidRequestError, match="one target"):
            await (await home.client()).translate(video(targets="ja,fr"))

        assert home.sandbox.audit.creates == ()


async def test_downloads_the_video_and_both_subtitle_files(house: Open, tmp_path) -> None:
    async with house() as home:
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        saved = await client.download(done, into=tmp_path / "out")

    assert saved.video == tmp_path / "out" / "1.ja.mp4"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "1.ja.json",
        "1.ja.mp4",
        "1.ja.original.srt",
        "1.ja.srt",
    ]
    assert all(path.stat().st_size > 0 for path in saved.files)


async def test_does_not_replace_files_unless_told(house: Open, tmp_path) -> None:
    async with house() as home:
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        await client.download(done, into=tmp_path, name="mine")

        other = await client.translate(video(), give_up_after=30)
        with pytest.raises(InvalidRequestError, match="already exists"):
            await client.download(other, into=tmp_path, name="mine")
        saved = await client.download(other, into=tmp_path, name="mine", overwrite=True)

    assert (tmp_path / "mine.mp4").exists()
    assert other.job.id in saved.manifest.read_text()


async def test_a_result_that_is_saved_is_not_downloaded_again(house: Open, tmp_path) -> None:
    async with house() as home:
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        first = await client.download(done.job.id, into=tmp_path)
        served = len(home.sandbox.audit.served)
        again = await client.download(done.job.id, into=tmp_path)

        assert len(home.sandbox.audit.served) == served > 0
    assert again == first
    assert first.video.name == f"{done.job.id}.mp4"


async def test_a_changed_file_of_the_same_job_is_not_replaced(house: Open, tmp_path) -> None:
    async with house() as home:
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        saved = await client.download(done, into=tmp_path)
        saved.video.write_bytes(b"cut by hand")

        with pytest.raises(InvalidRequestError, match="already exists"):
            await client.download(done, into=tmp_path)

    assert saved.video.read_bytes() == b"cut by hand"


async def test_asks_for_a_fresh_url_when_the_old_one_is_refused(house: Open, tmp_path) -> None:
    async with house() as home:
        client = await home.client()
        home.sandbox.faults.add(_fault("status", "url_forbidden"))
        done = await client.translate(video(), give_up_after=30)
        saved = await client.download(done, into=tmp_path)

        assert 403 in {served.status for served in home.sandbox.audit.served}
    assert saved.video.stat().st_size > 0


async def test_a_fresh_answer_without_the_video_leaves_nothing_that_looks_like_a_result(
    house: Open, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = lookups.job_status

    def without_video(*args: Any, **options: Any) -> dict[str, Any]:
        return told(*args, **options) | {"video": ""}

    async with house() as home:
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        home.sandbox.faults.add(_fault("cdn", "http", status=404, limit=1))
        monkeypatch.setattr(lookups, "job_status", without_video)
        with pytest.raises(DownloadError):
            await client.download(done, into=tmp_path)
        assert [*tmp_path.iterdir()] == []

        saved = await client.download(done, into=tmp_path)
    assert saved.video.stat().st_size > 0


async def test_a_video_counts_though_its_subtitles_and_its_job_are_gone(house: Open, tmp_path) -> None:
    async with house() as home:
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        home.sandbox.faults.add(_fault("cdn", "http", status=404, nth=range(2, 100)))
        home.sandbox.faults.add(_fault("status", "vanish"))
        saved = await client.download(done, into=tmp_path)

    assert saved.video.stat().st_size > 0
    assert set(saved.missing) == {"translated_srt", "original_srt"}


def _fault(on: str, do: str, **details: object):
    from akool_async.sandbox import Fault

    return Fault(on=on, kind=do, **details)
