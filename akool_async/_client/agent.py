"""What the program calls itself towards servers."""

from __future__ import annotations


def user_agent() -> str:
    """Give the name with the version, where it is installed."""
    from importlib.metadata import PackageNotFoundError, version  # late: it takes as long as all of attrs

    try:
        return f"akool-async/{version('akool-async')}"
    except PackageNotFoundError:
        return "akool-async"
