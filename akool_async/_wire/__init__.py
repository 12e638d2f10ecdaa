"""Models to the vendor's JSON, and the vendor's JSON, however odd, to models.

The only place for raw dictionaries, and the only place besides `codes` that knows field names.
Reading never fails with anything but `ProtocolError` or the error of a refusal, and never loses a job
id that can be read.
"""

from akool_async._wire.fields import JOB_ID, read_id
from akool_async._wire.ids import find_job_ids, holds_id, may_name_job, naming_headers
from akool_async._wire.requests import (
    CREDIT_PATH,
    LANGUAGES_PATH,
    STATUS_PATH,
    TOKEN_PATH,
    VOICES_PATH,
    create_path,
    create_payload,
    token_payload,
)
from akool_async._wire.responses import (
    Envelope,
    find_jobs,
    omits_targets,
    read_credit,
    read_envelope,
    read_job,
    read_languages,
    read_snapshot,
    read_submission,
    read_token,
    read_voices,
)

__all__ = [
    "CREDIT_PATH",
    "JOB_ID",
    "LANGUAGES_PATH",
    "STATUS_PATH",
    "TOKEN_PATH",
    "VOICES_PATH",
    "Envelope",
    "create_path",
    "create_payload",
    "find_job_ids",
    "find_jobs",
    "holds_id",
    "may_name_job",
    "naming_headers",
    "omits_targets",
    "read_credit",
    "read_envelope",
    "read_id",
    "read_job",
    "read_languages",
    "read_snapshot",
    "read_submission",
    "read_token",
    "read_voices",
    "token_payload",
]
