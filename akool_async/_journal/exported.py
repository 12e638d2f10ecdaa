"""An entry as one line of JSON that may be shown to others."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import attrs

from akool_async._core.text import without_query
from akool_async._journal import codec
from akool_async._journal.entry import Entry


def line(entry: Entry) -> str:
    """Give the entry as JSON in ASCII, without its token and without queries of webhook and result URLs."""
    told: dict[str, Any] = {}
    for field in attrs.fields(Entry):
        value = getattr(entry, field.name)
        if field.name != "token":
            told[field.name] = codec.write_moment(value) if isinstance(value, datetime) else value
    told["request"] = json.loads(codec.write_request(entry.request))
    webhook = told["request"].get("webhook_url")
    if webhook is not None:
        told["request"]["webhook_url"] = without_query(webhook)
    if entry.snapshot is not None:
        told["snapshot"] = json.loads(codec.write_snapshot(entry.snapshot))
    return json.dumps(told)
