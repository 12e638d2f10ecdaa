"""Files and objects in buckets in a catalog: where they are shared from, and what is in them."""

from __future__ import annotations

from typing import Annotated, Final

import attrs
from anyio import Path as AsyncPath
from cyclopts import Parameter

from akool_async._journal import open_journal
from akool_async._model.errors import ConfigurationError, InputError
from akool_async._model.fingerprint import fingerprint
from akool_async._model.requests import private_inputs, with_inputs
from akool_async._model.states import State
from akool_async._storage import SharedInputs, Storage
from akool_async._storage.settings import LONGEST, SHORTEST, bucket_location
from akool_async.cli.catalog import Catalog, CatalogError, CatalogItem, Issue
from akool_async.cli.options import Duration, Length, OutputOptions


@Parameter(name="*", group="Storage")
@attrs.frozen(kw_only=True)
class StorageOptions:
    """Options of every command that may submit files of this machine, or objects in buckets.

    Attributes:
        share: Bucket that files of this machine are shared from, such as s3://bucket/prefix; needs
            `akool-async[storage]`. Each is uploaded once and deleted when its jobs have ended.
        share_expires: How long the vendor may fetch a file or an object after its POST, 15m to 7d.
        keep_shared: Leave shared files in the bucket.
    """

    share: str | None = None
    share_expires: Length = Duration(hours=24)
    keep_shared: Annotated[bool, Parameter(negative="")] = False

    @property
    def storage(self) -> Storage:
        """The same as settings of a batch.

        Raises:
            ConfigurationError: one of these options is wrong.
        """
        if self.share is not None:
            bucket_location(self.share, "--share")
        if not SHORTEST <= self.share_expires <= LONGEST:
            raise ConfigurationError(f"--share-expires must be from 15m to 7d, not {self.share_expires}.")
        return Storage(share=self.share, expires=self.share_expires, keep=self.keep_shared)


DEFAULT_STORAGE: Final = StorageOptions()

_NO_SHARE: Final = (
    "This is a file of this machine, and the vendor fetches public URLs only. Name a bucket that files are "
    "uploaded to until their jobs end, such as --share s3://bucket/prefix."
)


async def identify_inputs(
    catalog: Catalog, output: OutputOptions, inputs: SharedInputs
) -> tuple[Catalog, dict[int, InputError]]:
    """Return a catalog whose private inputs name their content, and by line why others could not be read.

    What the journal knows of a file that is gone by now is enough: its job was made, and its result is saved.

    Raises:
        CatalogError: files of this machine are to be sent, and no bucket is named to share them from.
    """
    if not any(private_inputs(item.request) for item in catalog.items):
        return catalog, {}
    items: list[CatalogItem] = []
    failed: dict[int, InputError] = {}
    mistakes: list[Issue] = []
    exists = await AsyncPath(output.path).exists()
    async with open_journal(output.path if exists else ":memory:", read_only=exists) as journal:
        for item in catalog.items:
            request = item.request
            try:
                request = await inputs.identify(request)
            except InputError as error:
                target = request.targets[0]
                known = journal.get(item.key_for(target), target)
                if known is None and not request.key:
                    known = journal.find_other_query(fingerprint(request, target), target)
                if known is None or known.state is State.PLANNED:
                    failed[item.line] = error
                    files = [name for name, url in private_inputs(request).items() if url.startswith("file:")]
                    if not inputs.shares:
                        mistakes += (Issue(item.where(name), _NO_SHARE) for name in files)
                else:
                    replaced = await inputs.find_replaced(request, known.request)
                    # With a key each language is looked up by itself, and may have had other content.
                    by_content = not request.key or request.url_is_public
                    before = private_inputs(known.request) if by_content else {}
                    request = with_inputs(request, before | replaced)
            items.append(item if request is item.request else attrs.evolve(item, request=request))
    if mistakes:
        raise CatalogError(mistakes)
    return attrs.evolve(catalog, items=tuple(items)), failed
