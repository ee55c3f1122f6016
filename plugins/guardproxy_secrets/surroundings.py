"""What a row of the tables of surroundings is: what stands before a secret, and how it is judged."""

from collections.abc import Callable
from dataclasses import dataclass

from guardproxy_secrets.values import Value

GENERIC = "GENERIC_SECRET"
# With the letters that a language puts before a string: b'…', f"…", @"…"
QUOTED = r"(?:[bBfFrRuU@$]{0,2}\\{0,3}[\"'`](?:\\{0,3}[\"'`]){0,2}|)"
RUN = r"[A-Za-z0-9_+/=.~!@#%^&*$?:-]"
BASE64 = "[A-Za-z0-9+/=_-]"


@dataclass(frozen=True, slots=True)
class Context:
    """What comes before a secret, and how the value behind it is judged.

    `head` ends where the value begins; it is at most 90 characters long.
    """

    id: str
    category: str
    keyword: str  # a pattern that any text with such a secret holds
    head: str
    value: str  # a class of characters
    least: int
    judge: Callable[[Value], float]  # the score; 0 is no secret
    ends_at: str = ""  # a character that must follow the value, and may be in it
    finds: tuple[str, ...] = ()  # examples; {n} is n characters by chance
    leaves: tuple[str, ...] = ()
