"""What is served below the path of a front door, as data: the whole life of a response."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from guardproxy.errors import ConfigError
from guardproxy.shapes import COUNT, DELETED, INPUT_ITEMS, RESPONSE, Shape

ID = "/{id}"
CHECK = "/v1/guard/check"
MODELS = "/models"  # beside a front door, and below an upstream's base
LIVE, READY = "/livez", "/readyz"
BESIDE = (CHECK, LIVE, READY)  # what is served beside front doors and plugins' routes
# A model's id in a path may have slashes; dot segments and escapes are other spellings of another path.
MODEL = re.compile(r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._:@-]+(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._:@-]+)*")
# Nothing in it can be spelled in two ways, or lead the upstream to another path.
_OF_ID = re.compile(r"/([A-Za-z0-9_-]{1,128})((?:/[a-z_]+)?)")


@dataclass(frozen=True, slots=True)
class Route:
    """One method at one path.

    With `body` a request must have one; where the API knows none, one that comes is inspected all the
    same. With `remembers` the policy is kept for the response that is made. With `streams` the query can
    ask for a stream.
    """

    method: str
    tail: str
    answer: Shape = RESPONSE
    body: bool = False
    remembers: bool = False
    streams: bool = False

    @property
    def creates(self) -> bool:
        """Whether a model is asked for a response."""
        return self.method == "POST" and not self.tail


ROUTES = (
    Route("POST", "", body=True, remembers=True),
    Route("POST", "/input_tokens", COUNT, body=True),
    Route("POST", "/compact", body=True, remembers=True),
    Route("GET", ID, streams=True),
    Route("DELETE", ID, DELETED),
    Route("GET", f"{ID}/input_items", INPUT_ITEMS),
    Route("POST", f"{ID}/cancel"),
)
_BY_TAIL = {tail: {r.method: r for r in ROUTES if r.tail == tail} for tail in (r.tail for r in ROUTES)}


def models_beside(door: str) -> str:
    """Where clients of the front door at this path ask for models: beside it, as the API has it."""
    return door.rpartition("/")[0] + MODELS


def check_doors(doors: Iterable[str], more: Iterable[str]) -> None:
    """Refuse paths that lie above or below each other, of which one would hide the other.

    They are those of front doors, what is beside them, and `more`.

    Raises:
        ConfigError: names both.
    """
    doors = list(doors)
    beside = (*map(models_beside, doors), *BESIDE)
    pairs = [(door, other) for index, door in enumerate(doors) for other in doors[:index]]
    pairs += [(door, other) for door in doors for other in (*beside, *more)]
    for door, other in pairs:
        if door == other or door.startswith(f"{other}/") or other.startswith(f"{door}/"):
            raise ConfigError(
                f"The front door {door} and {other} are in each other's way; give the front door another "
                "path."
            )
    for route in more:
        if route in beside:
            raise ConfigError(f"A plugin has a route {route}, where guardproxy serves something of its own.")


class Place(NamedTuple):
    """A path that is served: its template, what is below the door as it came, the id, and its methods."""

    template: str
    tail: str
    response_id: str | None
    routes: Mapping[str, Route]


def find(door: str, path: str) -> Place | None:
    """The place of `path`, as it came, at the front door with the path `door`; None when there is none."""
    if not path.startswith(door):
        return None
    tail = path[len(door) :]
    if tail in _BY_TAIL and ID not in tail:
        return Place(path, tail, None, _BY_TAIL[tail])
    found = _OF_ID.fullmatch(tail)
    if found is None or ID + found[2] not in _BY_TAIL:
        return None
    return Place(door + ID + found[2], tail, found[1], _BY_TAIL[ID + found[2]])
