"""Answers of the documented shapes, present and past, for the tests of this folder.

Each is a fresh dictionary, so that a test may change it. No value is one of the vendor's.
"""

from __future__ import annotations

import json
from typing import Any

from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import Submission
from akool_async._wire import Envelope, read_envelope, read_submission

HI, FR, JA = "7a10c0ffee00000000000001", "7a10c0ffee00000000000002", "7a10c0ffee00000000000003"
OTHER = "7a10c0ffee0000000000000f"
CREATED_MS = 1767323045678
"""2026-01-02 03:04:05.678 UTC."""

REQUEST = TranslationRequest(url="https://media.test/talk.mp4", targets="ja")
THREE = TranslationRequest(url="https://media.test/talk.mp4", targets=("hi", "fr", "ja"))
LIP_SYNC = LipSyncRequest(video_url="https://media.test/face.mp4", audio_url="https://media.test/voice.wav")


def answer(data: Any = None, code: Any = 1000, msg: Any = "OK", **top: Any) -> dict[str, Any]:
    return {"code": code, "msg": msg, "data": data, **top}


def body(whole: Any) -> bytes:
    return json.dumps(whole).encode()


def envelope(data: Any = None, code: Any = 1000, msg: Any = "OK", **top: Any) -> Envelope:
    return read_envelope(body(answer(data, code, msg, **top)))


def made(job_id: str, language: str, **changed: Any) -> dict[str, Any]:
    """A job as newer servers answer it when it is made."""
    return {
        "_id": job_id,
        "create_time": CREATED_MS,
        "uid": 555111,
        "team_id": "team-of-tests",
        "target_video": "https://media.test/talk.mp4",
        "language": language,
        "source_language": "en",
        "video_id": f"video-{language}",
        "task_id": f"task-{language}",
        "credentialId": "credential-of-tests",
        "video_status": 1,
        "video": "",
        "video_lock_duration": 12.25,
        "deduction_lock_duration": 3,
        "target_video_md5": "md5_of_tests",
        "lipsync": False,
        "lipSyncType": 0,
        "speaker_num": 2,
        "webhookUrl": "",
        **changed,
    }


def made_long_ago(job_id: str, **changed: Any) -> dict[str, Any]:
    """A lip-sync job as older servers answer it when it is made."""
    return {
        "_id": job_id,
        "create_time": CREATED_MS,
        "uid": 555222,
        "type": 9,
        "from": 2,
        "target_video": "https://media.test/face.mp4",
        "input_audio": "https://media.test/voice.wav",
        "faceswap_quality": 2,
        "video_id": "video-legacy",
        "task_id": "task-legacy",
        "video_status": 1,
        "video": "",
        "video_lock_duration": 7.5,
        "deduction_lock_duration": 10,
        "external_video": "",
        "storage_loc": 1,
        "webhookUrl": "",
        "lipsync": True,
        "__v": 0,
        **changed,
    }


def accepted(job_id: str, language: str, **changed: Any) -> dict[str, Any]:
    return answer(made(job_id, language, **changed))


def refused(code: Any, language: str | None = None, msg: str = "no") -> dict[str, Any]:
    return answer(None if language is None else {"language": language}, code, msg)


def submitted(*parts: Any, request: Request = THREE, **whole: Any) -> Submission:
    """Read an answer with these `all_results`, whose `data` is the last job, as the vendor has it."""
    last = parts[-1].get("data") if parts and isinstance(parts[-1], dict) else None
    return read_submission(envelope(**{"data": last, "all_results": list(parts), **whole}), request)


def status(job_id: str = JA, **changed: Any) -> dict[str, Any]:
    """A job at work, as newer servers answer a status call."""
    return {
        "_id": job_id,
        "create_time": CREATED_MS,
        "uid": 555111,
        "team_id": "team-of-tests",
        "video_id": "video-ja",
        "video_status": 2,
        "video": "",
        "progress": 40,
        **changed,
    }


def completed(job_id: str = JA, **changed: Any) -> dict[str, Any]:
    return status(
        job_id,
        **{
            "video_status": 3,
            "video": "https://files.test/ja.mp4?sig=canary",
            "progress": 100,
            "deduction_duration": 3,
            "audio_splits": {
                "original_srt_url": "https://files.test/en.srt",
                "translated_srt_url": "https://files.test/ja.srt",
                "no_caption_video_url": "https://files.test/plain.mp4",
            },
            **changed,
        },
    )


def failed(job_id: str = JA, **changed: Any) -> dict[str, Any]:
    reason = {"error_code": 501999, "error_reason": "It did not work out."}
    return status(job_id, **{"video_status": 4, "progress": 15, **reason, **changed})


def status_long_ago(job_id: str = JA, **changed: Any) -> dict[str, Any]:
    """A job at work, as older servers answer a status call: no progress."""
    return {
        "faceswap_quality": 2,
        "storage_loc": 1,
        "_id": job_id,
        "create_time": CREATED_MS,
        "uid": 555222,
        "type": 2,
        "from": 1,
        "video_id": "video-legacy",
        "video_lock_duration": 7.5,
        "deduction_lock_duration": 10,
        "video_status": 2,
        "external_video": "",
        "lipsync_video_url": "",
        "video": "",
        **changed,
    }


def language(code: str = "ja", **changed: Any) -> dict[str, Any]:
    return {
        "lang_code": code,
        "lang_name": "Japanese",
        "url": "https://files.test/flag.png",
        "need_voice_id": True,
        **changed,
    }


def voice(voice_id: str = "voice-0001", **changed: Any) -> dict[str, Any]:
    return {
        "_id": "7a10c0ffee0000000000aaaa",
        "voice_id": voice_id,
        "gender": "Female",
        "language": "Japanese",
        "name": "Quiet Storyteller",
        "preview": "https://files.test/sample.mp3",
        "thumbnailUrl": "https://files.test/face.jpg",
        "create_time": CREATED_MS,
        "flag_url": "https://files.test/flag.png",
        "useCase": "Stories",
        "category": "stories",
        "age": ["Young"],
        "style": ["calm", "warm"],
        "duration": 9500,
        "scenario": ["podcast"],
        "language_code": "ja",
        **changed,
    }


def voices(*items: Any, **changed: Any) -> dict[str, Any]:
    return {"page": 1, "size": 100, "count": len(items), "result": list(items), **changed}
