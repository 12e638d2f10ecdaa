"""Where a job's results lie: paths on the CDN and the token that opens them.

A token belongs to one file of one job and one generation of links; making it needs a secret of the
sandbox, so that links can't be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from akool_async.sandbox.jobs import Job

__all__ = ["ARTIFACTS", "Signer"]

ARTIFACTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "video": "video.mp4",
        "no_caption_video": "no-caption.mp4",
        "original_srt": "original.srt",
        "translated_srt": "translated.srt",
    }
)
"""The file name of each artifact."""


class Signer:
    """Makes links and checks their tokens.

    Args:
        seed: Makes the links the same again in another run.
    """

    def __init__(self, seed: int) -> None:
        """Derive the secret."""
        self._secret = f"{seed}:links".encode()

    def url(self, origin: str, job: Job, artifact: str) -> str:
        """Return the link to an artifact as it stands now."""
        token = self._token(job.id, artifact, job.generation)
        return f"{origin}/results/{job.id}/{ARTIFACTS[artifact]}?token={token}"

    def generation(self, job: Job, artifact: str, token: str) -> int | None:
        """Return which generation of links a token belongs to, None when it opens nothing."""
        for number in range(job.generation + 1):
            if hmac.compare_digest(token.encode(), self._token(job.id, artifact, number).encode()):
                return number
        return None

    def _token(self, job_id: str, artifact: str, generation: int) -> str:
        text = f"{job_id}/{artifact}/{generation}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:40]
