"""Download results from file hosts, without credentials. A file gets its name only when it is complete."""

from akool_async._download.downloader import GONE_STATUSES, DownloadPlan, FileDownloader, ResultDownload
from akool_async._download.files import FileAlreadyExistsError, FileBusyError
from akool_async._download.network import DownloadLimits

__all__ = [
    "GONE_STATUSES",
    "DownloadLimits",
    "DownloadPlan",
    "FileAlreadyExistsError",
    "FileBusyError",
    "FileDownloader",
    "ResultDownload",
]
