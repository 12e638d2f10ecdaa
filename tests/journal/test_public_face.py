"""A caller reads a journal, resolves its doubts and copies it; what only a batch does is in another class."""

from __future__ import annotations

from akool_async import Journal, open_journal
from akool_async._journal import BatchJournal

OF_A_BATCH = set(
    "enter exclusive intend record reserve_name withdraw retire count_last_doubts file_name find_token "
    "find_unfinished recall".split()
)


def test_a_caller_does_not_see_what_only_a_batch_does() -> None:
    assert OF_A_BATCH.isdisjoint(dir(Journal))
    assert set(dir(BatchJournal)) >= OF_A_BATCH
    assert open_journal.__annotations__["return"] == "Journal"
    assert isinstance(open_journal(":memory:"), BatchJournal)
