"""The sandbox's way with video files: one door to what stands in the modules beside it.

`inspect` decides whether a video is taken, `render` makes a result of it, `probe` proves that it plays and
`sample_video` makes one to begin with. All need PyAV, from the extra `akool-async[sandbox]`.
"""

from __future__ import annotations

from akool_async.sandbox.containers import InvalidMediaError
from akool_async.sandbox.inspection import MediaFacts, MediaLimits, inspect
from akool_async.sandbox.playback import Tracks, probe
from akool_async.sandbox.rendering import Rendered, render
from akool_async.sandbox.samples import sample_video

__all__ = [
    "MediaFacts",
    "MediaLimits",
    "InvalidMediaError",
    "Rendered",
    "Tracks",
    "inspect",
    "probe",
    "render",
    "sample_video",
]
