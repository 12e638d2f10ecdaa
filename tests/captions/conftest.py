"""The fixtures of the command line."""

from tests.cli.conftest import akool, book, out, portal, quick, serve, vendor

__all__ = ["akool", "book", "out", "portal", "quick", "serve", "vendor"]
