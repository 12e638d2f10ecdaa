"""Download results from file hosts, without credentials. A file gets its name only when it is complete."""

from akool_async._download.downloader import GONE_STATUSES, DownloadRequest, FileDownloader, ResultDownload
from akool_async._download.files import FileAlreadyExistsError, FileBusyError, local_path
from akool_async._download.manifest import (
    FOLDER_ROW,
    FileState,
    SavedFile,
    SavedResult,
    find_file,
    is_there,
    parse_manifest,
    read_manifest,
    verify_folder,
)
from akool_async._download.network import DownloadLimits

__all__ = [
    "FOLDER_ROW",
    "GONE_STATUSES",
    "DownloadLimits",
    "DownloadRequest",
    "FileAlreadyExistsError",
    "FileBusyError",
    "FileDownloader",
    "FileState",
    "ResultDownload",
    "SavedFile",
    "SavedResult",
    "find_file",
    "is_there",
    "local_path",
    "parse_manifest",
    "read_manifest",
    "verify_folder",
]
