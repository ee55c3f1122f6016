"""The guard `pii`: personal data in prompts and answers."""

from collections.abc import Iterable

import msgspec

from guardproxy import Detector, Guard, Settings, hookimpl
from guardproxy_pii.cards import Cards
from guardproxy_pii.config import NAMED, PiiSettings
from guardproxy_pii.countries import ENTITIES as COUNTRY_ENTITIES
from guardproxy_pii.countries import CountryNumbers
from guardproxy_pii.iban import Ibans
from guardproxy_pii.ip import IpAddresses
from guardproxy_pii.local import LocalDetector
from guardproxy_pii.mail import Mail
from guardproxy_pii.names import Names, check_installed
from guardproxy_pii.own import OwnValues
from guardproxy_pii.phone import Phones
from guardproxy_pii.ssn import SocialSecurity
from guardproxy_pii.street import StreetAddresses

LOCAL: dict[str, type[LocalDetector]] = {
    "CREDIT_CARD": Cards,
    "IBAN_CODE": Ibans,
    "EMAIL_ADDRESS": Mail,
    "PHONE_NUMBER": Phones,
    "US_SSN": SocialSecurity,
    "IP_ADDRESS": IpAddresses,
    "STREET_ADDRESS": StreetAddresses,
}
STRUCTURED = tuple(LOCAL.values())


def detectors(settings: PiiSettings) -> tuple[Detector, ...]:
    """The detectors of what `settings` select; nothing is loaded yet.

    Raises:
        ConfigError: names are selected, and the pipeline is not installed.
    """
    selected = settings.selected
    least = {entity: settings.least(entity) for entity in selected}
    found: list[Detector] = [kind(least) for entity, kind in LOCAL.items() if entity in selected]
    if countries := [entity for entity in selected if entity in COUNTRY_ENTITIES]:
        found.append(CountryNumbers(countries, least))
    found += [OwnValues(recognizer, settings.least(recognizer.entity)) for recognizer in settings.recognizers]
    if names := [entity for entity in selected if entity in NAMED]:
        check_installed(settings.pipeline)
        found.append(Names(settings.pipeline, names, least, settings.language))
    return tuple(found)


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """`[guards.pii]`."""
    return PiiSettings


@hookimpl
def guardproxy_register_guards(settings: Settings) -> Iterable[Guard]:
    """The guard `pii`, with the detectors of its preset."""
    own = settings.of_plugin("pii", PiiSettings)
    return [
        Guard(
            "pii", detectors(own), summary="Personal data: cards, accounts, mail, phones, addresses, names."
        )
    ]
