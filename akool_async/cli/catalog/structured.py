"""JSON Lines and YAML: rows whose cells may be lists, numbers and so on."""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

from akool_async.cli.catalog.place import Mistake, Place
from akool_async.cli.catalog.table import Cell, IsColumn, Row, Table

_ROWS: Final = ("videos", "rows", "words")
_DEFAULTS: Final = "defaults"
_DEEPEST: Final = 4


def read_json_lines(text: str, file: str, _: IsColumn) -> Table:
    """Read one object from each line."""
    table = Table()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        doubled: list[str] = []
        try:
            found = json.loads(line, object_pairs_hook=lambda pairs: _once(pairs, doubled))  # noqa: B023
        except ValueError as error:
            place = Place(file, number, str(getattr(error, "colno", "") or ""))
            what = getattr(error, "msg", None) or str(error)
            table.mistakes.append(Mistake(place, f"This is not JSON: {what}."))
            continue
        except RecursionError:
            table.mistakes.append(Mistake(Place(file, number), "This is nested too deeply."))
            continue
        if not isinstance(found, dict):
            table.mistakes.append(Mistake(Place(file, number), "Each line has to hold one object: {...}."))
            continue
        for name in doubled:
            table.mistakes.append(Mistake(Place(file, number, field=name), "It stands in this line twice."))
        cells = {name: Cell(value, Place(file, number, field=name)) for name, value in found.items()}
        table.rows.append(Row(Place(file, number), cells))
    return table


def _once(pairs: list[tuple[str, Any]], doubled: list[str]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    doubled += sorted({name for name in names if names.count(name) > 1})
    return dict(pairs)


def read_yaml(text: str, file: str, _: IsColumn) -> Table:
    """Read a list of mappings, or a mapping with `defaults` and such a list under `videos`."""
    table = Table()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(file) if mark is None else Place(file, mark.line + 1, str(mark.column + 1))
        table.mistakes.append(
            Mistake(place, f"This is not YAML: {getattr(error, 'problem', None) or error}.")
        )
        return table
    except RecursionError:
        table.mistakes.append(Mistake(Place(file), "This is nested too deeply."))
        return table
    for node in _rows_of(root, file, table):
        if isinstance(node, yaml.MappingNode):
            table.rows.append(Row(_place(node, file), _cells(node, file, table)))
        else:
            table.mistakes.append(Mistake(_place(node, file), 'Each row has to be a mapping: "url: ...".'))
    return table


def _rows_of(root: yaml.Node | None, file: str, table: Table) -> list[yaml.Node]:
    if isinstance(root, yaml.SequenceNode):
        return list(root.value)
    rows: list[yaml.Node] = []
    if not isinstance(root, yaml.MappingNode):
        where = Place(file) if root is None else _place(root, file)
        table.mistakes.append(Mistake(where, "The file has to hold a list of rows."))
        return rows
    for key, value in root.value:
        if key.value in _ROWS and isinstance(value, yaml.SequenceNode):
            rows += value.value
        elif key.value == _DEFAULTS and isinstance(value, yaml.MappingNode):
            table.defaults = _cells(value, file, table)
        else:
            text = 'Here may stand "defaults" with a mapping and "videos" with a list of rows.'
            table.mistakes.append(Mistake(_place(key, file), text))
    return rows


def _cells(node: yaml.MappingNode, file: str, table: Table) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for key, value in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        place = _place(value, file, name)
        if name in cells:
            table.mistakes.append(Mistake(_place(key, file, name), "It stands in this row twice."))
        try:
            cells[name] = Cell(_value_of(value), place)
        except (TypeError, ValueError):
            table.mistakes.append(Mistake(place, "This value can't be read."))
    return cells


def _value_of(node: yaml.Node, depth: int = 0) -> Any:
    """Give text, a list or a mapping: "no" stays a language, 1:30 no number, and 2026-01-01 no date."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag.endswith(":null") else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value_of(item, depth + 1) for item in node.value]
    return {_value_of(key, depth + 1): _value_of(value, depth + 1) for key, value in node.value}


def _place(node: yaml.Node, file: str, field: str = "") -> Place:
    mark = node.start_mark
    return Place(file, mark.line + 1, str(mark.column + 1), field)
