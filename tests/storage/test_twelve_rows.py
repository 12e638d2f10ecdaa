"""A catalog as people have them: files, objects, links that are no videos, videos that would be refused.

Over real sockets: an S3 server that checks signatures, file hosts with and without TLS, the sandbox.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import av
import httpx
import obstore
import pytest
import trustme
from anyio.to_thread import run_sync

from tests.client.conftest import KEY, Open
from tests.media.file_host import FileHost, film, serve_files
from tests.storage.conftest import TestBucket
from tests.storage.test_command_line import command
from tests.storage.test_kills import kill_there

pytestmark = pytest.mark.timeout(600)

OPTIONS = ("--to", "ja", "--journal", "jobs.sqlite3", "--names", "{language}/{key}")
GOOD = ("local", "uri", "object", "https")


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FileHost, FileHost]]:
    """A host by http and one by https, whose certificate the commands and the sandbox trust."""
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr("akool_async.sandbox.access.httpx.create_ssl_context", lambda **_: trusting)
    with serve_files() as plain, serve_files(served) as safe:
        yield plain, safe


def twelve_rows(
    folder: Path, bucket: TestBucket, hosts: tuple[FileHost, FileHost], large: int = 0
) -> dict[str, tuple[str, str]]:
    """Make the videos; return for each row, by its key, what its URL is, and what a plan has to say."""
    plain, safe = hosts
    padding = (large + 8).to_bytes(4, "big") + b"free" + bytes(large) if large else b""
    (folder / "my talk.mp4").write_bytes(film(3.0) + padding)
    (folder / "tour.mp4").write_bytes(film(4.0))
    obstore.put(bucket.store, "in/keynote.mp4", film(5.0))
    return {
        "local": ("./my talk.mp4", ""),
        "uri": ((folder / "tour.mp4").as_uri(), ""),
        "object": (f"{bucket.url}/in/keynote.mp4", ""),
        "https": (safe.add("news.mp4", film(6.0)), ""),
        "drive": (
            "https://drive.google.com/file/d/1aBcD_efGhIjKlMnOp/view?usp=sharing",
            "https://drive.usercontent.google.com/download?id=1aBcD_efGhIjKlMnOp&export=download&confirm=t",
        ),
        "youtube": ("https://youtu.be/dQw4w9WgXcQ", "a page of YouTube"),
        "dropbox": ("https://www.dropbox.com/s/abc/talk.mp4?dl=0", "dl=1 instead of dl=0"),
        "pdf": (plain.add("paper.pdf", b"%PDF-1.7\n" + bytes(999)), "a PDF document"),
        "silent": (plain.add("silent.mp4", film(audio=False)), "no audio track (code 1203)"),
        "long": (plain.add("long.mp4", film(61.0, fps=1)), "61.00 s long, 60 s are allowed (code 1204)"),
        "fast": (
            plain.add("fast.mp4", film(1.0, fps=60)),
            "60.00 frames a second, 59 are allowed (code 1210)",
        ),
        "private": ("http://10.1.2.3/talk.mp4", "private network"),
    }


def options(bucket: TestBucket) -> tuple[str, ...]:
    return (*OPTIONS, "--out", f"{bucket.url}/out", "--share", f"{bucket.url}/tmp")


def write_catalog(folder: Path, rows: dict[str, tuple[str, str]]) -> None:
    lines = [f'{key},"{url}"' for key, (url, _) in rows.items()]
    (folder / "videos.csv").write_text("\n".join(["key,url", *lines]), encoding="utf-8")


async def made_by_vendor(home: Any) -> dict[str, bytes]:
    """Return what the vendor serves as the results of its jobs, by how long their videos are."""
    client = await home.client()
    async with httpx.AsyncClient(trust_env=False, timeout=60.0) as http:
        found = {}
        for job in home.sandbox.audit.jobs:
            found[round(job.seconds)] = (await http.get((await client.status(job.id)).url)).content
    return found


def assert_playable(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) > 5


@pytest.mark.thorough
async def test_each_of_twelve_rows_is_told_rightly_and_the_good_ones_are_saved_in_a_bucket(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, hosts: tuple[FileHost, FileHost]
) -> None:
    rows = twelve_rows(tmp_path, bucket, hosts)
    write_catalog(tmp_path, rows)
    async with fast_house(media=True) as home:
        planned = await command(home, "plan", "videos.csv", *options(bucket), "--json", cwd=tmp_path)
        posts, shared = len(home.sandbox.audit.creates), [*bucket.names]
        ran = await command(home, "run", "videos.csv", *options(bucket), "--yes", cwd=tmp_path)
        verified = await command(home, "verify", *options(bucket)[2:4], *options(bucket)[6:8], cwd=tmp_path)
        made = await made_by_vendor(home)

    assert (posts, shared) == (0, ["in/keynote.mp4"])
    jobs = {job["key"]: job for job in json.loads(planned.stdout)["jobs"]}
    assert [*jobs] == [*rows]
    for key, (_, said) in rows.items():
        assert jobs[key]["action"] == ("new" if key in GOOD else "refused"), (key, jobs[key])
        assert said in jobs[key]["reason"], (key, jobs[key])
    assert len(home.sandbox.audit.creates) == len(home.sandbox.audit.jobs) == 4
    assert ran.returncode == 1
    assert "4 of 12 translations are saved" in ran.stderr
    assert "8 refused before they were sent, not charged" in " ".join(ran.stderr.split())
    saved = [f"out/ja/{key}.mp4" for key in GOOD]
    assert [name for name in bucket.names if name.endswith(".mp4")] == sorted([*saved, "in/keynote.mp4"])
    for name, seconds in zip(saved, (3, 4, 5, 6), strict=True):
        assert bucket.content(name) == made[seconds]
        assert_playable(bucket.content(name), tmp_path / "played.mp4")
    assert verified.returncode == 0, verified.stderr
    assert bucket.unfinished_uploads == 0
    everything = planned.stdout + planned.stderr + ran.stdout + ran.stderr
    assert "X-Amz" not in everything
    assert "Traceback" not in everything


@pytest.mark.thorough
@pytest.mark.parametrize(("step", "posts", "seen"), [("upload", 0, 0), ("manifest", None, 3)])
async def test_a_killed_run_of_it_leaves_nothing_half_visible_and_resumes(
    fast_house: Open,
    bucket: TestBucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hosts: tuple[FileHost, FileHost],
    step: str,
    posts: int | None,
    seen: int,
) -> None:
    rows = twelve_rows(tmp_path, bucket, hosts, large=9_000_000)
    write_catalog(tmp_path, {key: rows[key] for key in ("local", "silent")})
    monkeypatch.setenv("AKOOL_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    async with fast_house(media=True) as home:
        line = ("run", "videos.csv", *options(bucket), "--yes", "--host", home.server.base_url)
        with anyio.fail_after(500):
            said = await run_sync(kill_there, step, ["command", *line])
            visible = [name for name in bucket.names if name.startswith("out/")]
            before = len(home.sandbox.audit.creates)
            ran = await command(home, *line[:-2], cwd=tmp_path)
        made = await made_by_vendor(home)

    assert said == "here"
    assert before == (1 if posts is None else posts)
    assert [name for name in visible if name.endswith((".part", ".json"))] == []
    assert len(visible) == seen, visible
    assert len(home.sandbox.audit.creates) == len(home.sandbox.audit.jobs) == 1
    assert "1 of 2 translations are saved" in ran.stderr
    assert bucket.content("out/ja/local.mp4") == made[3]
    assert_playable(bucket.content("out/ja/local.mp4"), tmp_path / "played.mp4")
    assert {name for name in bucket.names if not name.startswith("out/ja/local.")} == {"in/keynote.mp4"}
