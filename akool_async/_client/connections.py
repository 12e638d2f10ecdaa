"""What exists while a client is open: its HTTP clients, its scheduler, its downloads and their tasks."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import attrs
from anyio.lowlevel import EventLoopToken

from akool_async._background import BackgroundTasks
from akool_async._download import FileDownloader
from akool_async._http import ApiSession
from akool_async._model.errors import ClientClosedError
from akool_async._polling.scheduler import PollScheduler


@attrs.frozen(kw_only=True)
class Connections:
    """The parts of an open client; `loop` and `task_id` are of the task that opened it."""

    loop: EventLoopToken
    task_id: int
    api: ApiSession
    scheduler: PollScheduler
    downloads: FileDownloader
    background: BackgroundTasks
    stack: AsyncExitStack

    async def close(self) -> None:
        """Finish a paid POST under way, and give up everything else."""
        async with self.stack:
            # First no new polls, then no new calls: otherwise a poll would fail against a closed session, and
            # its listener would hear of an error instead of the closing.
            self.scheduler.close()
            self.api.close()
            # As in a notebook, where each cell is a task of its own.
            if anyio.get_current_task().id != self.task_id:
                # The group can be left by its own task only, so wait for its tasks and leave it behind.
                await self.api.wait_closed()
                await self.background.stop()
                if all(task.id != self.task_id for task in anyio.get_running_tasks()):
                    return  # that task has ended, so nothing can miss the group
                raise ClientClosedError(
                    "The client was closed in another task than the one that opened it.",
                    impact="Its connections are closed; jobs at the vendor continue and are billed.",
                    advice="Use async with in one task, or await client.aopen() and await client.aclose().",
                )
            # Ends pollers and watchers; a paid POST is shielded, and `__aexit__` below waits for its ids.
            await self.background.__aexit__(None, None, None)
