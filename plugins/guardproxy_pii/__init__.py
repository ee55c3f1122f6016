"""The guard `pii`: personal data in prompts and answers."""

from collections.abc import Iterable

import msgspec

from guardproxy import Detector, Guard, Settings, hookimpl
from guardproxy_pii.cards import Cards
from guardproxy_pii.config import PiiSettings
from guardproxy_pii.iban import Ibans
from guardproxy_pii.ip import IpAddresses
from guardproxy_pii.mail import Mail
from guardproxy_pii.names import Names, check_installed
from guardproxy_pii.phone import Phones
from guardproxy_pii.ssn import SocialSecurity
from guardproxy_pii.street import StreetAddresses

STRUCTURED: tuple[type[Detector], ...] = (
    Cards,
    Ibans,
    Mail,
    Phones,
    SocialSecurity,
    IpAddresses,
    StreetAddresses,
)


def detectors(settings: PiiSettings) -> tuple[Detector, ...]:
    """The detectors of the preset; nothing is loaded yet.

    Raises:
        ConfigError: the preset needs a pipeline that is not installed.
    """
    structured = tuple(kind() for kind in STRUCTURED)
    if settings.preset == "structured":
        return structured
    check_installed(settings.pipeline)
    entities = ("PERSON",) if settings.preset == "default" else ("PERSON", "LOCATION")
    return (*structured, Names(settings.pipeline, entities))


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """`[guards.pii]`."""
    return PiiSettings


@hookimpl
def guardproxy_register_guards(settings: Settings) -> Iterable[Guard]:
    """The guard `pii`, with the detectors of its preset."""
    own = settings.plugins.get("pii", PiiSettings())
    assert isinstance(own, PiiSettings)
    return [
        Guard(
            "pii", detectors(own), summary="Personal data: cards, accounts, mail, phones, addresses, names."
        )
    ]
