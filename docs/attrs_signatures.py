"""Tells the reference how classes of attrs are built: their fields are parameters, as of a dataclass."""

import importlib
from typing import Any

import attrs
import griffe


class AttrsSignatures(griffe.Extension):
    """Give each class of attrs the `__init__` that attrs made for it."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Visit every class, once all of them are known, for the fields of their parents."""
        pending: list[griffe.Module | griffe.Class] = [pkg]
        while pending:
            for member in pending.pop().members.values():
                if isinstance(member, griffe.Class) and "__init__" not in member.members:
                    _build(member)
                if isinstance(member, griffe.Module | griffe.Class):
                    pending.append(member)


def _build(cls: griffe.Class) -> None:
    made: Any = importlib.import_module(cls.module.path)
    for name in cls.path.removeprefix(f"{cls.module.path}.").split("."):
        made = getattr(made, name, None)
    if made is None or not attrs.has(made):
        return
    annotations: dict[str, Any] = {}
    for parent in [*reversed(cls.mro()), cls]:
        annotations |= {name: field.annotation for name, field in parent.attributes.items()}
    parameters = []
    for field in sorted(attrs.fields(made), key=lambda field: field.kw_only):
        default = None if field.default is attrs.NOTHING else repr(field.default)
        if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            default = "..."
        kinds = griffe.ParameterKind
        kind = kinds.keyword_only if field.kw_only else kinds.positional_or_keyword
        if field.init:
            told = {"annotation": annotations.get(field.name), "default": default, "kind": kind}
            parameters.append(griffe.Parameter(field.alias, **told))
    cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*parameters)))
