"""The sandbox's work on real videos: inspected as the vendor would, and given back with subtitles in them.

Nothing is translated and nothing is encoded anew: a result is the original's picture and sound, copied
into an MP4 file, with a subtitle track whose lines name the target language. Needs PyAV and pysubs2, from
the extra `akool-async[sandbox]`.
"""

from __future__ import annotations

import io
import math
from array import array
from collections import defaultdict
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Final

import av
import httpx
from anyio import from_thread, to_thread
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from pysubs2 import SSAEvent, SSAFile
from pysubs2.exceptions import Pysubs2Error

from akool_async._media.inspection import find_video, inspect_url, open_media
from akool_async._model.media import MediaError, MediaFacts, MediaProblem, find_excesses
from akool_async.sandbox.access import outgoing_client
from akool_async.sandbox.jobs import ApiRejection, JobSpec, SandboxJob
from akool_async.sandbox.settings import MediaLimits, SandboxSettings

_TIMEOUT: Final = 30.0
_LARGEST_SUBTITLES: Final = 8 * 2**20
_CACHED: Final = 32
_MP4_AUDIO: Final = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus", "vorbis"})
"""Encodings of sound that can be copied into MP4."""

_CUE: Final = 4_000
_MILLISECOND: Final = Fraction(1, 1000)
_LONGEST_TEXT: Final = 0xFFFF


class RealMedia:
    """Inspects the videos that are sent in, and makes results that play."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._limits = settings.limits or MediaLimits()
        self._tls = httpx.create_ssl_context(trust_env=False)  # made once, as it takes some time
        self._downloaded = lru_cache(_CACHED)(self._download)
        self._subtitles = lru_cache(_CACHED)(self._parse_subtitles)
        self._made = lru_cache(_CACHED)(self._make)

    async def examine(self, url: str, caption_url: str) -> float:
        """Inspect a video and its subtitles; return its length in seconds."""
        try:
            async with self._client() as http:
                # The vendor reads all of a video, so a server without ranges is no reason to refuse one.
                seen = await inspect_url(url, http=http, read_limit=self._limits.max_bytes)
        except MediaError as error:
            too_large = error.problem is MediaProblem.READ_LIMIT
            raise ApiRejection(1207 if too_large else 1208, error.message) from error
        assert seen.facts is not None  # noqa: S101 - no ETag was known
        seconds = _measured(seen.facts, self._limits)
        if caption_url:
            await to_thread.run_sync(self._subtitles, caption_url, abandon_on_cancel=True)
        return seconds

    async def artifact(self, job: SandboxJob, artifact: str) -> bytes:
        """Return a playable video or an SRT file."""
        return await to_thread.run_sync(self._made, job.spec, artifact, abandon_on_cancel=True)

    def _make(self, spec: JobSpec, artifact: str) -> bytes:
        """Make an SRT file, or copy a video with no subtitles (caption_type 0), original or other ones."""
        caption_type = spec.caption_type if artifact == "video" else 0
        original = artifact == "original_srt" or (artifact == "video" and caption_type < 2)
        mark = "" if original else f"[{spec.language}] "
        length = round(spec.seconds * 1000)
        if spec.caption_url:
            source = list(self._subtitles(spec.caption_url))
        else:
            starts = range(0, length, _CUE)
            source = [
                SSAEvent(start, min(start + _CUE, length), f"Sentence {number} of the talk.")
                for number, start in enumerate(starts, start=1)
            ]
        cues = SSAFile()
        cues.events = [SSAEvent(cue.start, cue.end, mark + cue.text) for cue in source]
        if artifact.endswith("_srt"):
            return cues.to_string("srt").encode()
        data = self._downloaded(spec.url, self._limits.max_bytes, 1207, 1208)
        return _remuxed(data, cues if caption_type else SSAFile(), spec.language, length)

    def _download(self, url: str, limit: int, too_large: int, unreachable: int) -> bytes:
        """Return what is at a URL, following redirects as the vendor may. Runs in a worker thread."""

        async def fetch() -> bytes:
            data = bytearray()
            async with self._client() as http, http.stream("GET", url, follow_redirects=True) as response:
                response.raise_for_status()
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > limit:
                        raise ApiRejection(too_large, f"more than {limit} bytes")
            return bytes(data)

        try:
            return from_thread.run(fetch)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiRejection(unreachable, "the file can't be fetched") from error

    def _client(self) -> httpx.AsyncClient:
        return outgoing_client(self._settings, timeout=_TIMEOUT, tls=self._tls)

    def _parse_subtitles(self, url: str) -> SSAFile:
        try:
            text = self._download(url, _LARGEST_SUBTITLES, 1003, 1003).decode("utf-8-sig")
            cues = SSAFile.from_string(text)
        except (ValueError, Pysubs2Error) as error:
            raise ApiRejection(1003, "caption_url does not lead to subtitles") from error
        cues.remove_miscellaneous_events()
        cues.sort()
        if not cues or any(not 0 <= event.start <= event.end for event in cues):
            raise ApiRejection(1003, "caption_url leads to subtitles without valid times")
        return cues


def _measured(facts: MediaFacts, limits: MediaLimits) -> float:
    """Hold a video against the limits; return its length.

    Raises:
        ApiRejection: the first of these that is true: 1207 too large, 1203 no audio, 1204 too long, 1210 too
            many frames a second, 1209 encoding not taken, 1208 no length.
    """
    excesses = find_excesses(
        facts, max_seconds=limits.max_seconds, max_bytes=limits.max_bytes, max_fps=limits.max_fps
    )
    for excess in excesses:
        raise ApiRejection(excess.code, excess.message)
    if facts.video_codec not in limits.codecs:
        raise ApiRejection(1209, f"encoded as {facts.video_codec}")
    if facts.audio_codec not in _MP4_AUDIO and not str(facts.audio_codec).startswith("pcm_"):
        raise ApiRejection(1209, f"audio encoded as {facts.audio_codec}")
    if facts.seconds is None:
        raise ApiRejection(1208, "the length is unknown")
    return facts.seconds


def _remuxed(data: bytes, cues: SSAFile, language: str, length: int) -> bytes:
    """Copy picture and sound into an MP4 file, with the cues as a subtitle track."""
    buffer = io.BytesIO()
    # Matroska does not tell when its first pictures are decoded, which MP4 has to know.
    undated: defaultdict[int, list[Packet[Any]]] = defaultdict(list)
    try:
        with (
            open_media(io.BytesIO(data)) as source,
            av.open(buffer, "w", format="mp4") as out,
        ):
            copied = [find_video(source), *source.streams.audio[:1]]
            # opaque: take over the decoder's settings, there may be no encoder of its name
            copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in copied}
            out.metadata["comment"] = f"translated into {language or 'no other language'} by the sandbox"
            if cues:
                begins = max(0, (source.start_time or 0) // 1000)  # MPEG-TS does not begin at 0
                cues.shift(ms=begins)
                length += begins
                _add_subtitles(out, cues, language, length)
            for packet in source.demux(copied):
                if not packet.size:
                    continue
                index = packet.stream.index
                undated[index].append(packet)
                if packet.dts is None:
                    continue
                for back, ready in enumerate(reversed(undated[index])):
                    ready.dts = packet.dts - back * (packet.duration or 1)
                for ready in undated.pop(index):
                    ready.stream = copies[index]
                    out.mux(ready)
    except (FFmpegError, ValueError, MediaError) as error:
        raise ApiRejection(1208, "the video can't be copied into an MP4 file") from error
    return buffer.getvalue()


def _add_subtitles(out: OutputContainer, cues: SSAFile, language: str, length: int) -> None:
    """Write a track of timed text, which shows one text at a time; FFmpeg's muxer fills the gaps."""
    track = out.add_stream("mov_text")
    track.time_base = track.codec_context.time_base = _MILLISECOND
    track.codec_context.subtitle_header = SSAFile().to_string("ass").encode()  # the style, without which
    track.metadata["handler_name"] = f"Subtitles ({language})"  # many players show nothing
    out.start_encoding()
    for cue, following in zip_longest(cues, cues[1:]):
        end = min(cue.end, length, length if following is None else following.start)
        if cue.start < end:
            text = cue.plaintext.encode("utf-8", "replace")[:_LONGEST_TEXT].decode("utf-8", "ignore").encode()
            packet: Packet[Any] = Packet(len(text).to_bytes(2, "big") + text)
            packet.stream, packet.time_base = track, _MILLISECOND
            packet.pts = packet.dts = cue.start
            packet.duration = end - cue.start
            out.mux(packet)


def sample_video(
    seconds: float = 3.0,
    *,
    fps: int = 24,
    width: int = 320,
    height: int = 180,
    audio: bool = True,
    seed: int = 0,
) -> bytes:
    """Make a short MP4 video of wandering stripes and a tone, for tests and demos.

    Args:
        seconds: length, above 0.
        fps: frames a second, 1 or more.
        width: pixels, even.
        height: pixels, even.
        audio: whether it has sound.
        seed: changes the stripes and the tone.
    """
    buffer = io.BytesIO()
    encoder = next(name for name in ("libx264", "libopenh264", "mpeg4") if name in av.codecs_available)
    with av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact"}) as out:
        film: Any = out.add_stream(encoder, fps, width=width, height=height)
        film.pix_fmt = "yuv420p"
        track: Any = out.add_stream("aac", 24_000, layout="mono") if audio else None
        for number in range(math.ceil(seconds * fps)):
            frame = VideoFrame(width, height, "yuv420p")
            for nth, plane in enumerate(frame.planes):
                line = bytes(((x + number) * (seed % 7 + 2) + nth * 90) % 256 for x in range(plane.line_size))
                plane.update(line * plane.height)
            frame.pts = number
            out.mux(film.encode(frame))
        out.mux(film.encode(None))
        if track is not None:
            tone = 440 + seed % 12 * 40
            wave = (
                int(9_000 * math.sin(2 * math.pi * tone * n / 24_000)) for n in range(int(seconds * 24_000))
            )
            sound = AudioFrame("s16", "mono", int(seconds * 24_000))
            sound.sample_rate, sound.pts = 24_000, 0
            sound.planes[0].update(array("h", wave).tobytes())
            out.mux(track.encode(sound))
            out.mux(track.encode(None))
    return buffer.getvalue()
