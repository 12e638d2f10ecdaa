"""From a catalog to a survey: laid beside the journal, checked with the server."""

from __future__ import annotations

from pathlib import Path

import attrs

from akool_async._client import AkoolClient
from akool_async.cli.catalog import Catalog, CatalogWrong
from akool_async.cli.check import check
from akool_async.cli.survey import Rules, Survey, survey


async def planned(catalog: Catalog, journal: Path, rules: Rules, client: AkoolClient | None) -> Survey:
    """Give the survey of a catalog.

    Args:
        catalog: what is wanted.
        journal: the journal's file, which may be missing.
        rules: what may be paid again.
        client: asks the server; None leaves that out.

    Raises:
        CatalogWrong: its keys name other work in the journal, or the server does not know its languages.
        AccountError: the credentials or the account are refused.
    """
    seen = await survey(catalog, journal, rules)
    if seen.mistakes:
        raise CatalogWrong(seen.mistakes)
    if client is None:
        return seen
    async with client:
        checked = await check(client, seen.new_items)
    if checked.mistakes:
        raise CatalogWrong(checked.mistakes)
    return attrs.evolve(seen, checked=checked)
