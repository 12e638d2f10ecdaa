"""Catalogs: what a person wants translated, in a spreadsheet, or a file of CSV, TSV, JSON Lines or YAML."""

from akool_async.cli.catalog.model import (
    Catalog,
    CatalogError,
    CatalogItem,
    Duplicate,
    Issue,
    Layout,
    OnDuplicate,
    SourceLocation,
    format_issues,
    names_for,
)
from akool_async.cli.catalog.rows import one_video, read_catalog

__all__ = [
    "Catalog",
    "CatalogError",
    "CatalogItem",
    "Duplicate",
    "Issue",
    "Layout",
    "OnDuplicate",
    "SourceLocation",
    "format_issues",
    "names_for",
    "one_video",
    "read_catalog",
]
