"""Catalogs: what a person wants translated, in a file of CSV, TSV, JSON Lines or YAML."""

from akool_async.cli.catalog.catalog import one_video, read_catalog
from akool_async.cli.catalog.item import Catalog, Duplicate, Item, OnDuplicate, names_for
from akool_async.cli.catalog.place import CatalogWrong, Mistake, Place, told

__all__ = [
    "Catalog",
    "CatalogWrong",
    "Duplicate",
    "Item",
    "Mistake",
    "OnDuplicate",
    "Place",
    "names_for",
    "one_video",
    "read_catalog",
    "told",
]
