"""`akool-async completion` and `man`: what a shell and a manual need to know of the commands."""

from __future__ import annotations

from typing import Literal

from akool_async._environment import needs_extra
from akool_async.cli.app import app, load_commands
from akool_async.cli.console import write_lines
from akool_async.cli.exit_codes import ExitCode


def completion(shell: Literal["bash", "zsh", "fish", "powershell"], /) -> int:
    """Print a script that makes a shell complete commands and options.

    Bash reads it from `~/.local/share/bash-completion/completions/akool-async`, fish from
    `~/.config/fish/completions/akool-async.fish`, zsh from `_akool-async` in a folder of its `fpath`.

    Parameters
    ----------
    shell
        The shell.
    """
    load_commands()
    write_lines([app.generate_completion(shell=shell)])
    return ExitCode.OK


def man() -> int:
    """Print the manual page, for `~/.local/share/man/man1/akool-async.1` or `man -l -`."""
    with needs_extra("man", "Manual pages"):
        from docutils.core import publish_string  # takes longer to load than most commands to run

    load_commands()
    text = app.generate_docs("rst").partition(f"{app.help}\n")[2]
    _, _, described = text.partition(":depth: 6\n")  # a manual page has no table of contents
    summary = str(app.help).removesuffix(".").replace("Translate", "translate")
    titles = (("=", app.name[0]), ("-", summary))
    head = "\n\n".join(f"{sign * len(text)}\n{text}\n{sign * len(text)}" for sign, text in titles)
    page = f"{head}\n\n:Manual section: 1\n\n{described}"
    settings = {"report_level": 5, "file_insertion_enabled": False, "raw_enabled": False}
    shown = publish_string(page, writer="manpage", settings_overrides=settings)
    write_lines([shown.decode() if isinstance(shown, bytes) else shown])
    return ExitCode.OK
