"""Buckets, for inputs that the vendor can't fetch and for results; they need the extra `storage`."""

from akool_async._storage.bucket_results import BucketFolder
from akool_async._storage.inputs import NO_INPUTS, SharedInputs
from akool_async._storage.local_names import unwritable_reason
from akool_async._storage.results import (
    DamagedManifestError,
    ResultFolder,
    find_paid_result,
    find_saved_job,
    result_folder,
    verify,
)
from akool_async._storage.settings import Storage

__all__ = [
    "NO_INPUTS",
    "BucketFolder",
    "DamagedManifestError",
    "ResultFolder",
    "SharedInputs",
    "Storage",
    "find_paid_result",
    "find_saved_job",
    "result_folder",
    "unwritable_reason",
    "verify",
]
