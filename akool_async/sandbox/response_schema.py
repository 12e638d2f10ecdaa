"""The JSON that goes out: envelopes, jobs, languages and voices, in the current and the older form.

Field names follow the vendor's answers. Only values go in, only dicts come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from akool_async._model.codes import CODES
from akool_async.sandbox.fixtures import SandboxLanguage, SandboxVoice
from akool_async.sandbox.jobs import (
    ARTIFACTS,
    COMPLETED,
    FAILED,
    FAILURE,
    QUEUEING,
    SandboxJob,
    Signer,
)
from akool_async.sandbox.settings import SandboxSettings, reported_progress, shown_while_queued

_UID: Final = 101400
_TEAM: Final = "6805fb69e92d9edc7ca0b409"
_CREDENTIAL: Final = "6823024be0c8e98471611c72"
_TRANSLATE_TYPE: Final = 2
_LIPSYNC_TYPE: Final = 9
_SPLITS: Final = {
    "original_srt": "original_srt_url",
    "translated_srt": "translated_srt_url",
    "no_caption_video": "no_caption_video_url",
}


def envelope(data: object) -> dict[str, Any]:
    """Return a successful answer."""
    return {"code": 1000, "msg": "OK", "data": data}


def refusal(code: int) -> dict[str, Any]:
    """Return a refusing answer with the meaning of its code.

    Unconfirmed: what `data` is then; without it, no client is led to read it.
    """
    known = CODES.get(code)
    return {"code": code, "msg": known.meaning if known else "unknown error"}


def created_job(job: SandboxJob, settings: SandboxSettings) -> dict[str, Any]:
    """Return a job as the paid POST answers it; lip-syncs have kept the older form."""
    spec = job.spec
    common = {
        "target_video": spec.url,
        "video_status": QUEUEING,
        "video": "",
        "webhookUrl": spec.webhook_url,
        "task_id": job.video_id,
        "lipsync": spec.lipsync,
    }
    # Source: the documentation's example, which newer versions have not changed.
    if spec.kind == "lipsync":
        return {**_old_job(job), **common, "input_audio": spec.audio_url, "__v": 0}
    common |= {"language": spec.language, "source_language": spec.source_language}
    if settings.legacy:
        return {**_old_job(job), **common, "__v": 0}
    return {
        **_job(job),
        **common,
        **_locked(job),
        "credentialId": _CREDENTIAL,
        "target_video_md5": f"md5_{_ms(job.created)}",
        "lipSyncType": int(spec.lipsync),
        "speaker_num": spec.speaker_num,
    }


def job_status(
    job: SandboxJob, now: float, *, settings: SandboxSettings, signer: Signer, cdn: str
) -> dict[str, Any]:
    """Return a job as asking for its status answers it; `cdn` is the origin of the results."""
    data = {**(_old_job if settings.legacy else _job)(job), "video_status": job.status, "video": ""}
    if job.status == QUEUEING:
        progress = shown_while_queued(settings.progress)
    else:
        progress = reported_progress(settings.progress, job.fraction(now), job.script.quirk)
    if progress is not None and not settings.legacy:
        data["progress"] = 100 if job.status == COMPLETED else progress
    if job.status == COMPLETED:
        links = {artifact: signer.url(cdn, job, artifact) for artifact in ARTIFACTS}
        data["video"] = links["video"]
        data["deduction_duration"] = _number(job.spec.credits)
        if settings.legacy:
            data["lipsync_video_url"] = links["video"] if job.spec.lipsync else ""
        elif job.spec.kind == "translate":
            data["audio_splits"] = {field: links[artifact] for artifact, field in _SPLITS.items()}
    if job.status == FAILED:
        data["error_code"], data["error_reason"] = job.spec.failure or FAILURE
    return data


def _job(job: SandboxJob) -> dict[str, Any]:
    created = _ms(job.created)
    return {"_id": job.id, "create_time": created, "uid": _UID, "team_id": _TEAM, "video_id": job.video_id}


def _old_job(job: SandboxJob) -> dict[str, Any]:
    return {
        "faceswap_quality": 2,
        "storage_loc": 1,
        "_id": job.id,
        "create_time": _ms(job.created),
        "uid": _UID,
        "type": _LIPSYNC_TYPE if job.spec.kind == "lipsync" else _TRANSLATE_TYPE,
        "from": 2,
        "video_id": job.video_id,
        **_locked(job),
        "external_video": "",
    }


def _locked(job: SandboxJob) -> dict[str, Any]:
    credits = _number(job.spec.credits)  # noqa: A001 - the vendor's word
    return {"video_lock_duration": round(job.spec.seconds, 2), "deduction_lock_duration": credits}


def language_list(languages: Sequence[SandboxLanguage], settings: SandboxSettings) -> dict[str, Any]:
    """Return the languages."""
    entries: list[dict[str, Any]] = []
    for language in languages:
        flag = f"https://example.com/flags/{language.code}.png"
        entries.append({"lang_code": language.code, "lang_name": language.name, "url": flag})
        # The vendor leaves the field out where no voice is needed.
        if language.needs_voice and settings.api_version == "current":
            entries[-1]["need_voice_id"] = True
    return {"lang_list": entries}


def voice_entry(voice: SandboxVoice) -> Mapping[str, Any]:
    """Return one voice."""
    return {
        "_id": voice.id,
        "voice_id": voice.voice_id,
        "gender": voice.gender,
        "language": voice.language_name,
        "name": voice.name,
        "preview": f"https://example.com/voices/{voice.voice_id}.mp3",
        "thumbnailUrl": f"https://example.com/voices/{voice.voice_id}.png",
        "create_time": voice.created_ms,
        "flag_url": f"https://example.com/flags/{voice.language_code}.png",
        "useCase": voice.use_case,
        "category": voice.use_case.lower(),
        "age": list(voice.ages),
        "style": list(voice.styles),
        "duration": voice.duration_ms,
        "scenario": list(voice.scenarios),
        "language_code": voice.language_code,
    }


def _ms(moment: float) -> int:
    return int(moment * 1000)


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value
