"""Many requests at once: bounded, streamed, resumable, never paid twice."""

from akool_async._batch.batch import Batch
from akool_async._batch.entry import EntryProgress, Stage
from akool_async._batch.limits import StopCause
from akool_async._batch.opening import open_batch
from akool_async._batch.resume import OnInDoubt
from akool_async._batch.statistics import Statistics
from akool_async._batch.tickets import Ticket

__all__ = ["Batch", "EntryProgress", "OnInDoubt", "Stage", "Statistics", "StopCause", "Ticket", "open_batch"]
