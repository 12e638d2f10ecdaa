"""Many requests at once: bounded, streamed, resumable, never paid twice."""

from akool_async._batch.at_work import AtWork, Stage
from akool_async._batch.batch import Batch
from akool_async._batch.opening import open_batch
from akool_async._batch.resuming import OnInDoubt
from akool_async._batch.statistics import Statistics
from akool_async._batch.stopping import StopCause

__all__ = ["AtWork", "Batch", "OnInDoubt", "Stage", "Statistics", "StopCause", "open_batch"]
