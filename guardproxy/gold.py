"""Labelled texts, one JSON object a line: what is to be found (`spans`), or whether anything is (`label`)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class TypedRange(NamedTuple):
    """A range of a text, in code points, and what it is."""

    start: int
    end: int
    type: str


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled text.

    `ranges` are what is to be found (`spans` in the file), None where there is a `label` instead. `types`
    are those that were looked for when it was labelled: what a guard finds of another is neither right nor
    wrong (None: all were). So is what lies in a range of `ignore`.
    """

    id: str
    text: str
    ranges: tuple[TypedRange, ...] | None
    types: frozenset[str] | None
    ignore: tuple[TypedRange, ...]
    label: bool | None
    group: str


class GoldError(Exception):
    """A line that is no labelled text; the message names the line, the field, and what would be right."""


def read(lines: Iterable[str]) -> list[Record]:
    """The records of a file; blank lines are passed over.

    Raises:
        GoldError: a line is none, or some lines have `spans` and others a `label`.
    """
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            record = _record(line, number)
            if records and (records[0].label is None) != (record.label is None):
                raise GoldError(f"Line {number}: some lines have 'spans' and others 'label'; use two files.")
            records.append(record)
    if not records:
        raise GoldError("There is no labelled text in it.")
    return records


def _record(line: str, number: int) -> Record:
    def wrong(field: str, right: str) -> GoldError:
        return GoldError(f"Line {number}: '{field}' must be {right}.")

    try:
        value = json.loads(line)
    except ValueError as error:
        at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise GoldError(f"Line {number}: not valid JSON{at}.") from None
    except RecursionError:
        raise GoldError(f"Line {number}: its JSON is nested too deep.") from None
    if not isinstance(value, dict):
        raise GoldError(f'Line {number}: not an object; write {{"id", "text", "spans"}} or "label".')
    text, label, types = value.get("text"), value.get("label"), value.get("types")
    if not isinstance(text, str):
        raise wrong("text", "a string")
    if ("spans" in value) == ("label" in value):
        raise GoldError(f"Line {number}: it must have 'spans' or 'label', one of the two.")
    if "label" in value and (isinstance(label, float) or label not in (0, 1)):
        raise wrong("label", "0 or 1")
    if types is not None and not (isinstance(types, list) and all(isinstance(t, str) for t in types)):
        raise wrong("types", "a list of strings")
    group = value.get("group", "")
    if not isinstance(group, str):
        raise wrong("group", "a string")
    return Record(
        str(value.get("id", number)),
        text,
        _ranges(value, "spans", len(text), wrong) if "spans" in value else None,
        frozenset(types) if types else None,
        _ranges(value, "ignore", len(text), wrong),
        None if label is None else bool(label),
        group,
    )


def _ranges(value: Mapping[str, Any], field: str, length: int, wrong: Any) -> tuple[TypedRange, ...]:
    given = value.get(field, [])
    if not isinstance(given, list):
        raise wrong(field, "a list of {start, end, type}")
    found: list[TypedRange] = []
    for index, one in enumerate(given):
        place = f"{field}[{index}]"
        if not isinstance(one, dict):
            raise wrong(place, "an object with start, end and type")
        start, end, kind = one.get("start"), one.get("end"), one.get("type", "")
        if type(start) is not int or not 0 <= start < length:
            raise wrong(f"{place}.start", f"a number of characters from 0 to below the text's {length}")
        if type(end) is not int or not start < end <= length:
            raise wrong(f"{place}.end", f"greater than start, and at most the text's {length} characters")
        if not isinstance(kind, str) or (not kind and field == "spans"):
            raise wrong(f"{place}.type", "a string")
        found.append(TypedRange(start, end, kind))
    return tuple(found)
