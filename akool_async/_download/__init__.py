"""The file hosts: results are fetched by a client of its own that knows no credentials.

A file gets its name only when all of it is there.
"""

from akool_async._download.downloader import GONE_STATUSES, DownloadRequest, FileDownloader, ResultDownload
from akool_async._download.files import FileAlreadyExistsError, FileBusyError
from akool_async._download.network import DownloadLimits

__all__ = [
    "GONE_STATUSES",
    "ResultDownload",
    "FileDownloader",
    "DownloadLimits",
    "FileBusyError",
    "FileAlreadyExistsError",
    "DownloadRequest",
]
