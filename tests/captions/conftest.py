"""The fixtures of the command line."""

from tests.cli.conftest import akool, book, out, portal, quick, serve, vendor
from tests.storage.conftest import bucket, s3

__all__ = ["akool", "book", "bucket", "out", "portal", "quick", "s3", "serve", "vendor"]
