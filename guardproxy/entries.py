"""What messages call an entry of a list in the configuration file: counted from 1, and by its name. Pure.

TOML has no index, and a `keys.1` that meant the second of them would be looked for in the first.
"""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9._/-]{1,128}")


def ordinal(index: int) -> str:
    """`1st` for 0."""
    number = index + 1
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"


def entry(heading: str, index: int, name: str | None = None) -> str:
    """A table of the list `heading`: `the 2nd [[keys]] ("ci")`, or without a name `the 2nd [[keys]]`."""
    return f"the {ordinal(index)} [[{heading}]]" + (f' ("{name}")' if name else "")


def name_of(table: Mapping[str, object]) -> str | None:
    """The name of an entry, or its path, where it has one that can be shown."""
    found = table.get("name", table.get("path"))
    return found if isinstance(found, str) and _NAME.fullmatch(found) else None
