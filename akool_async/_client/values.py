"""Values as plain JSON and back, so that a queue or a workflow engine can carry them between machines.

Only classes that are listed here are made from JSON: what a database holds never names code to run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from cattrs import Converter
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_unstructure_fn, override

from akool_async._model.errors import AkoolError, InvalidRequestError
from akool_async._model.locations import result_path
from akool_async._model.media import MediaProblem
from akool_async._model.outcomes import (
    Completed,
    Expired,
    Failed,
    InDoubt,
    NotSubmitted,
    Outcome,
    Rejected,
    Saved,
)
from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import Job, Refusal, Snapshot, Submission
from akool_async._polling.poll_state import PollState

WireValue: TypeAlias = (
    Request | Snapshot | Job | Submission | Refusal | Outcome | Saved | PollState | AkoolError
)
"""What can be turned into JSON and back."""

_KINDS: Final[Mapping[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        TranslationRequest,
        LipSyncRequest,
        Snapshot,
        Job,
        Submission,
        Refusal,
        Completed,
        Failed,
        Rejected,
        InDoubt,
        Expired,
        NotSubmitted,
        Saved,
        PollState,
    )
}
_PLAIN: Final = ("message", "impact", "advice", "code", "vendor_message", "http_status")


def to_wire(value: WireValue) -> dict[str, Any]:
    """Return a value as a dictionary that `json.dumps` accepts; `from_wire` returns an equal value.

    Errors, also those in refusals, are equal to no other object: theirs come back with the same fields.

    The result holds what the value holds, also URLs that are signed and the webhook's URL: keep it where
    secrets may be kept. `raw` answers of the vendor are left out, for they are large.

    Args:
        value: a request, snapshot, job, submission, refusal, outcome, poll state or error of this package.

    Raises:
        InvalidRequestError: it is none of these.
    """
    if isinstance(value, AkoolError):
        return _error_to_wire(value)
    kind = type(value).__name__
    if _KINDS.get(kind) is not type(value):
        raise InvalidRequestError(f"A value of the class {kind} has no JSON form.")
    return {"kind": kind, **_CONVERTER.unstructure(value)}


def from_wire(stored: Mapping[str, Any]) -> Any:
    """Return the value that `to_wire` was given.

    Args:
        stored: what `to_wire` returned, also after a way through JSON.

    Returns:
        The value; an error is returned, not raised.

    Raises:
        InvalidRequestError: it is not what `to_wire` returns.
    """
    kind = stored.get("kind") if isinstance(stored, Mapping) else None
    fields = {name: value for name, value in stored.items() if name != "kind"} if kind else {}
    if isinstance(kind, str) and kind in _KINDS:
        try:
            return _CONVERTER.structure(fields, _KINDS[kind])
        except (BaseValidationError, AkoolError, ValueError, TypeError, KeyError) as error:
            raise InvalidRequestError(f"The stored {kind} can't be read.") from error
    found = next((each for each in _errors() if each.__name__ == kind), None)
    if found is None:
        raise InvalidRequestError(f"{str(kind)[:60]!r} is not the name of a value of this package.")
    return _error_from_wire(found, fields)


def _errors(root: type[AkoolError] = AkoolError) -> Iterator[type[AkoolError]]:
    """Return the classes of errors, the general ones first; only those of this package."""
    if root.__module__.partition(".")[0] == __name__.partition(".")[0]:
        yield root
    for each in root.__subclasses__():
        yield from _errors(each)


def _error_to_wire(error: AkoolError) -> dict[str, Any]:
    ours = set(_errors())
    kind = next(each for each in type(error).__mro__ if each in ours)
    more = {
        name: to_wire(value) if isinstance(value, Snapshot) else _CONVERTER.unstructure(value)
        for name, value in vars(error).items()
        if name not in _PLAIN and not name.startswith("_")
    }
    return {"kind": kind.__name__, **{name: getattr(error, name) for name in _PLAIN}, "more": more}


def _error_from_wire(kind: type[AkoolError], stored: Mapping[str, Any]) -> AkoolError:
    error = kind.__new__(kind)
    try:
        AkoolError.__init__(error, **{name: stored[name] for name in _PLAIN})
        for name, value in stored["more"].items():
            if isinstance(value, dict) and "kind" in value:
                value = from_wire(value)
            elif name == "problem":
                value = MediaProblem(value)
            setattr(error, name, tuple(value) if isinstance(value, list) else value)
    except (KeyError, TypeError, ValueError, AttributeError) as broken:
        raise InvalidRequestError(f"The stored {kind.__name__} can't be read.") from broken
    return error


def _converter() -> Converter:
    """Return the rules for what plain JSON has no form for; a default is left out."""
    converter = Converter(omit_if_default=True, prefer_attrib_converters=True)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    converter.register_unstructure_hook(bytes, bytes.hex)
    converter.register_structure_hook(bytes, lambda text, _: bytes.fromhex(text))
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda text, _: result_path(text))
    converter.register_structure_hook(Request, lambda stored, _: from_wire(stored))
    converter.register_unstructure_hook(Request, to_wire)
    converter.register_unstructure_hook(AkoolError, to_wire)
    converter.register_structure_hook(AkoolError, lambda stored, _: from_wire(stored))
    for kind in (TranslationRequest, LipSyncRequest):
        converter.register_structure_hook(kind, lambda stored, kind: kind(**stored))
    for answered in (Snapshot, Job):  # `raw` may hold anything
        without_raw = make_dict_unstructure_fn(
            answered, converter, _cattrs_omit_if_default=True, raw=override(omit=True)
        )
        converter.register_unstructure_hook(answered, without_raw)
    return converter


_CONVERTER: Final = _converter()
