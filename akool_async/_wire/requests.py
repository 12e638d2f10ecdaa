"""What is sent: the paths, and the JSON of each POST."""

from __future__ import annotations

from typing import Any, Final

from akool_async._model.credentials import ClientCredentials
from akool_async._model.locations import Location, no_public_url
from akool_async._model.requests import (
    CaptionType,
    LipSyncRequest,
    Request,
    TranslationRequest,
    private_inputs,
)

TOKEN_PATH: Final = "/api/open/v3/getToken"  # noqa: S105 - a path
TRANSLATE_PATH: Final = "/api/open/v3/content/video/createbytranslate"
LIPSYNC_PATH: Final = "/api/open/v3/content/video/lipsync"
STATUS_PATH: Final = "/api/open/v3/content/video/infobymodelid"
LANGUAGES_PATH: Final = "/api/open/v3/language/list"
VOICES_PATH: Final = "/api/open/v4/voice/videoTranslation"
CREDIT_PATH: Final = "/api/open/v3/faceswap/quota/info"


def create_path(request: Request) -> str:
    """Return the path of the paid POST for `request`."""
    return TRANSLATE_PATH if isinstance(request, TranslationRequest) else LIPSYNC_PATH


def create_payload(request: Request) -> dict[str, Any]:
    """Return the JSON of the paid POST: required fields, and options that differ from the default.

    Raises:
        InputError: the vendor can't fetch an input; nothing was sent.
    """
    for url in private_inputs(request).values():
        raise no_public_url(Location.parse(url))
    if isinstance(request, LipSyncRequest):
        payload: dict[str, Any] = {"video_url": request.video_url, "audio_url": request.audio_url}
        return payload if request.webhook_url is None else {**payload, "webhookUrl": request.webhook_url}
    optional = {
        "webhookUrl": request.webhook_url,
        "speaker_num": request.speaker_num or None,
        "remove_bgm": request.remove_bgm or None,
        "caption_type": None if request.caption_type is CaptionType.NONE else int(request.caption_type),
        "caption_url": request.caption_url,
        "voices_map": {code: {"voice_id": voice} for code, voice in request.voices_map.items()} or None,
        "studio_voice": _studio_voice(request) or None,
        "dynamic_duration": request.dynamic_duration or None,
    }
    return {
        "url": request.url,
        "source_language": request.source_language,
        "language": ",".join(request.targets),
        "lipsync": request.lipsync,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _studio_voice(request: TranslationRequest) -> dict[str, Any]:
    voice = {
        "no_translate_words": list(request.no_translate_words),
        "style": request.style,
        "fixed_words": dict(request.fixed_words),
        "pronounced_words": dict(request.pronounced_words),
    }
    return {name: value for name, value in voice.items() if value}


def token_payload(pair: ClientCredentials) -> dict[str, str]:
    """Return the JSON of getToken. It holds the secret: it goes to the API host only."""
    return {"clientId": pair.client_id, "clientSecret": pair.client_secret.reveal()}
