"""What a shell completes, and the manual page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from akool_async.cli.app import COMMANDS
from tests.cli.conftest import Command

NAMES = sorted({name.split()[0] for names in COMMANDS.values() for name in names})


def completed(script: Path, *words: str) -> list[str]:
    """Give what bash offers after these words."""
    line = " ".join(f"'{word}'" for word in words)
    ask = (
        f'source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE="${{COMP_WORDS[*]}}"; '
        'COMP_POINT=${#COMP_LINE}; _akool_async; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    told = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=120, check=True)
    return [word.strip() for word in told.stdout.splitlines() if word.strip()]


def test_bash_completes_commands_and_options(akool: Command, tmp_path: Path) -> None:
    told = akool("completion", "bash")
    script = tmp_path / "akool-async"
    script.write_text(told.out)

    assert told.code == 0
    assert set(NAMES) <= set(completed(script, "akool-async", ""))
    assert completed(script, "akool-async", "li") == ["lipsync", "list"]
    assert "--in-doubt" in completed(script, "akool-async", "list", "--i")
    assert {"serve"} <= set(completed(script, "akool-async", "webhook", ""))


@pytest.mark.thorough
@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_other_shells_are_told_of_every_command(shell: str, akool: Command) -> None:
    told = akool("completion", shell)

    assert told.code == 0
    assert all(re.search(rf"\b{re.escape(name)}\b", told.out) for name in NAMES)
    assert "on-saved" in told.out


@pytest.mark.thorough
def test_the_manual_has_every_command_and_option(akool: Command) -> None:
    told = akool("man")
    text = told.out.replace("\\-", "-").replace("\\", "")

    assert told.code == 0
    assert all(
        re.search(rf"^\.SH {re.escape(name.upper())}|^\.SH {re.escape(name)}", text, re.M) for name in NAMES
    )
    assert all(
        f"{option}" in text for option in ("--on-saved", "--expiring", "--max-credits", "--no-timestamps")
    )
    if shutil.which("groff") is None:
        pytest.skip("groff, which shows manual pages, is not installed")
    shown = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8"],
        input=told.out,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert shown.stderr == ""
    assert len(shown.stdout.splitlines()) > 300
