"""How a catalog is read: which columns, what with duplicates, and with what options for all rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from akool_async.cli.catalog import Catalog, CatalogWrong, Mistake, OnDuplicate, read_catalog
from akool_async.cli.options import Options


@Parameter(name="*", group="Catalog")
@attrs.frozen(kw_only=True)
class Wanted:
    """How a catalog is read.

    Attributes:
        ignore_columns: Columns that are not read; those whose name begins with "#" never are.
        duplicates: Whether the same work in two rows is a mistake, or the second is skipped.
    """

    ignore_columns: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    duplicates: OnDuplicate = "refuse"

    def read(self, path: Path, options: Options) -> Catalog:
        """Read the catalog.

        Raises:
            CatalogWrong: with every mistake in it, in glossaries and in these options.
        """
        mistakes: list[Mistake] = []
        defaults = dict(options.values(mistakes))
        try:
            catalog = read_catalog(
                path,
                defaults=defaults,
                glossaries=options.glossary,
                ignore=[name for names in self.ignore_columns for name in names.split(",")],
                on_duplicate=self.duplicates,
            )
        except CatalogWrong as wrong:
            raise CatalogWrong([*mistakes, *wrong.mistakes]) from None
        if mistakes:
            raise CatalogWrong(mistakes)
        return catalog


AS_IT_SAYS: Final = Wanted()
"""What holds without options."""
