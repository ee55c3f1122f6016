"""The dialects that front doors speak, as data, and the doors that there are without being set."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


class Form(enum.StrEnum):
    """How the client is told: a field of the response, items in its output, or not at all."""

    FIELDS = "fields"
    ITEMS = "items"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """One dialect: how it reports, and where its requests go below the upstream's base."""

    name: str
    form: Form
    target: str = "/responses"


OPENRESPONSES: Final = Profile("openresponses", Form.FIELDS)
OPPER: Final = Profile("opper", Form.ITEMS)
PROFILES: Final[Mapping[str, Profile]] = {profile.name: profile for profile in (OPENRESPONSES, OPPER)}
MAIN: Final = "/v1/responses"  # the door whose profile is a scalar
DOORS: Final[Mapping[str, Profile]] = {
    MAIN: OPENRESPONSES,
    "/v3/compat/openresponses": OPPER,
    "/v3/compat/responses": OPPER,
}
