"""Inspect videos and audio files by their index and their first frames, without downloading them whole.

What opens videos is in `inspection`, which needs PyAV; the rest can be imported without it.
"""

from akool_async._media.hosts import Reach, find_obstacle, inspect, inspect_path, media_client

__all__ = ["Reach", "find_obstacle", "inspect", "inspect_path", "media_client"]
