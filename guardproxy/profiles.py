"""The dialects of the front doors, as data."""

from dataclasses import dataclass

from guardproxy.report import Form


@dataclass(frozen=True, slots=True)
class Profile:
    """One front door: its path, where its requests go below the upstream's base, and how it reports."""

    path: str
    target: str
    form: Form


PROFILES = (
    Profile("/v1/responses", "/responses", Form.FIELDS),
    Profile("/v3/compat/openresponses", "/responses", Form.ITEMS),
)
