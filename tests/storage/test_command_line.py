"""Files and buckets from the command line: planned by what is in them, shared, and saved into a bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import obstore
import pytest
from anyio.to_thread import run_sync

from akool_async.sandbox.media import sample_video
from tests.client.conftest import KEY, Open
from tests.storage.conftest import TestBucket

pytestmark = pytest.mark.timeout(600)


async def command(home: Any, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"AKOOL_API_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2])}
    line = [sys.executable, "-m", "akool_async", *words, "--host", home.server.base_url]
    run = lambda: subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment, timeout=500)  # noqa: E731
    return await run_sync(run)


@pytest.mark.thorough
async def test_a_catalog_of_files_and_objects_is_planned_and_saved_in_a_bucket(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    film = sample_video(1.0, width=64, height=36)
    (tmp_path / "one.mp4").write_bytes(film)
    (tmp_path / "two talks.mp4").write_bytes(sample_video(2.0, width=64, height=36))
    (tmp_path / "page.mp4").write_text("<html>")
    obstore.put(bucket.store, "in/three.mp4", film)
    rows = [
        "one.mp4",
        (tmp_path / "two talks.mp4").as_uri(),
        f"{bucket.url}/in/three.mp4",
        f"{bucket.url}/in/none.mp4",
        "./missing.mp4",
        "./page.mp4",
    ]
    catalog = tmp_path / "videos.csv"
    catalog.write_text("\n".join(["url", *rows]))
    options = ["--to", "ja", "--out", f"{bucket.url}/out", "--journal", "jobs.sqlite3"]
    options += ["--share", f"{bucket.url}/tmp"]
    async with fast_house(media=True) as home:
        planned = await command(home, "plan", "videos.csv", *options, "--json", cwd=tmp_path)
        posts = len(home.sandbox.audit.creates)
        ran = await command(home, "run", "videos.csv", *options, "--yes", cwd=tmp_path)
        again = await command(home, "run", "videos.csv", *options, "--yes", cwd=tmp_path)
        verified = await command(home, "verify", *options[2:6], cwd=tmp_path)

        assert posts == 0
        assert len(home.sandbox.audit.creates) == 3, planned.stderr + ran.stderr
    jobs = json.loads(planned.stdout)["jobs"]
    assert [job["action"] for job in jobs] == ["new"] * 3 + ["refused"] * 3, planned.stdout
    assert f"{bucket.name}/in/none.mp4 does not exist" in jobs[3]["reason"]
    assert sorted(name for name in bucket.names if name.endswith(".mp4")) == [
        "in/three.mp4",
        "out/one.ja.mp4",
        "out/three.ja.mp4",
        "out/two-talks.ja.mp4",
    ]
    assert (ran.returncode, again.returncode) == (1, 1), ran.stderr
    assert verified.returncode == 0, verified.stderr
    assert "Traceback" not in ran.stderr + again.stderr + verified.stderr
    assert (tmp_path / "report" / "index.html").exists()
    assert "X-Amz" not in planned.stdout + ran.stdout + ran.stderr + again.stderr


async def test_a_bucket_needs_a_journal_of_this_machine(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    async with fast_house() as home:
        options = ["--to", "ja", "--out", bucket.url, "--yes"]
        ran = await command(home, "translate", "https://example.com/1.mp4", *options, cwd=tmp_path)

        assert home.sandbox.audit.creates == ()
    assert ran.returncode == 2
    assert "--journal jobs.sqlite3" in ran.stderr


async def test_without_share_a_file_is_refused_and_the_way_is_named(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    (tmp_path / "talk.mp4").write_bytes(sample_video(1.0, width=64, height=36))
    async with fast_house() as home:
        ran = await command(home, "translate", "talk.mp4", "--to", "ja", "--yes", cwd=tmp_path)

        assert home.sandbox.audit.creates == ()
    assert ran.returncode != 0
    assert "--share s3://bucket/prefix" in " ".join(ran.stderr.split())


@pytest.mark.thorough
async def test_a_plan_says_that_no_file_can_be_shared_without_credentials(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talk.mp4").write_bytes(sample_video(1.0, width=64, height=36))
    (tmp_path / "videos.csv").write_text("url,to\ntalk.mp4,ja\n")
    options = ["videos.csv", "--share", f"{bucket.url}/tmp"]
    async with fast_house(media=True) as home:
        planned = await command(home, "plan", *options, cwd=tmp_path)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
        alone = await command(home, "plan", *options, cwd=tmp_path)

    assert (planned.returncode, alone.returncode) == (0, 0), alone.stderr
    assert "can be sent" not in planned.stderr
    assert "No file of this machine can be sent: " in alone.stderr
    assert "credentials" in alone.stderr
