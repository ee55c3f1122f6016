"""Numbers of one country: Presidio's recognisers, each tried where a word begins, in a window of its own."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from guardproxy import Match
from guardproxy_pii.context import near, raised
from guardproxy_pii.local import LocalDetector

if TYPE_CHECKING:
    from presidio_analyzer import PatternRecognizer

# What a country's preset adds: Presidio's entity, and the class that finds it.
COUNTRIES: dict[str, dict[str, str]] = {
    "au": {
        "AU_ABN": "AuAbnRecognizer",
        "AU_ACN": "AuAcnRecognizer",
        "AU_MEDICARE": "AuMedicareRecognizer",
        "AU_TFN": "AuTfnRecognizer",
    },
    "es": {"ES_NIE": "EsNieRecognizer", "ES_NIF": "EsNifRecognizer"},
    "fi": {"FI_PERSONAL_IDENTITY_CODE": "FiPersonalIdentityCodeRecognizer"},
    "in": {
        "IN_AADHAAR": "InAadhaarRecognizer",
        "IN_GSTIN": "InGstinRecognizer",
        "IN_PAN": "InPanRecognizer",
        "IN_PASSPORT": "InPassportRecognizer",
        "IN_VEHICLE_REGISTRATION": "InVehicleRegistrationRecognizer",
        "IN_VOTER": "InVoterRecognizer",
    },
    "it": {
        "IT_DRIVER_LICENSE": "ItDriverLicenseRecognizer",
        "IT_FISCAL_CODE": "ItFiscalCodeRecognizer",
        "IT_IDENTITY_CARD": "ItIdentityCardRecognizer",
        "IT_PASSPORT": "ItPassportRecognizer",
        "IT_VAT_CODE": "ItVatCodeRecognizer",
    },
    "kr": {
        "KR_BRN": "KrBrnRecognizer",
        "KR_DRIVER_LICENSE": "KrDriverLicenseRecognizer",
        "KR_FRN": "KrFrnRecognizer",
        "KR_PASSPORT": "KrPassportRecognizer",
        "KR_RRN": "KrRrnRecognizer",
    },
    "ng": {"NG_NIN": "NgNinRecognizer", "NG_VEHICLE_REGISTRATION": "NgVehicleRegistrationRecognizer"},
    "pl": {"PL_PESEL": "PlPeselRecognizer"},
    "sg": {"SG_NRIC_FIN": "SgFinRecognizer", "SG_UEN": "SgUenRecognizer"},
    "th": {"TH_TNIN": "ThTninRecognizer"},
    "uk": {
        "UK_NHS": "NhsRecognizer",
        "UK_NINO": "UkNinoRecognizer",
        "UK_PASSPORT": "UkPassportRecognizer",
        "UK_POSTCODE": "UkPostcodeRecognizer",
        "UK_VEHICLE_REGISTRATION": "UkVehicleRegistrationRecognizer",
    },
    "us": {
        "ABA_ROUTING_NUMBER": "AbaRoutingRecognizer",
        "MEDICAL_LICENSE": "MedicalLicenseRecognizer",
        "US_BANK_NUMBER": "UsBankRecognizer",
        "US_DRIVER_LICENSE": "UsLicenseRecognizer",
        "US_ITIN": "UsItinRecognizer",
        "US_MBI": "UsMbiRecognizer",
        "US_NPI": "UsNpiRecognizer",
        "US_PASSPORT": "UsPassportRecognizer",
    },
}


def _weighed(*weights: int) -> Callable[[str], bool]:
    """Whether the last digit makes the sum of the digits, each times its weight, a multiple of ten."""

    def check(value: str) -> bool:
        digits = [int(character) for character in value if character.isdigit()]
        total = sum(digit * weight for digit, weight in zip(digits, weights, strict=False))
        return len(digits) == len(weights) + 1 and (total + digits[-1]) % 10 == 0

    return check


# In place of Presidio's, which take another check digit for the right one: of a PESEL the rest of the sum
# instead of what it lacks, of an ACN 10 instead of 0.
_CHECKS = {
    "PL_PESEL": _weighed(1, 3, 7, 9, 1, 3, 7, 9, 1, 3),
    "AU_ACN": _weighed(8, 7, 6, 5, 4, 3, 2, 1),
}
ENTITIES = {entity: kind for found in COUNTRIES.values() for entity, kind in found.items()}
# Patterns that Presidio lacks, with the score of their looks.
_MORE = {"UK_PASSPORT": [(r"\b[0-9]{9}\b", 0.1)]}
# The most that a value without a check digit can score, with a word near by.
HIGHEST = {
    "IN_PAN": 0.85,
    "IN_PASSPORT": 0.45,
    "IN_VOTER": 0.75,
    "IT_DRIVER_LICENSE": 0.55,
    "IT_IDENTITY_CARD": 0.4,
    "IT_PASSPORT": 0.4,
    "KR_PASSPORT": 0.45,
    "NG_VEHICLE_REGISTRATION": 0.85,
    "SG_NRIC_FIN": 0.85,
    "UK_NINO": 0.85,
    "UK_PASSPORT": 0.45,
    "UK_POSTCODE": 0.45,
    "US_BANK_NUMBER": 0.4,
    "US_DRIVER_LICENSE": 0.65,
    "US_ITIN": 0.85,
    "US_MBI": 0.85,
    "US_PASSPORT": 0.45,
}
_LONGEST = 40
# Presidio rates the looks of a value; below this they say nothing without a word near by.
_WEAK = 0.3
# All of these values have a digit early on.
_PLAIN_DIGITS = re.compile(r"[0-9]{1,10}")
_WORD = re.compile(r"(?<!\w)[A-Za-z]{0,6}[0-9]")
_WORD_BEFORE = re.compile(r"(?<!\w)[A-Za-z]{1,4}[ -]\Z")
_LONGEST_BEFORE = 6


class CountryNumbers(LocalDetector):
    """The `entities` of Presidio's recognisers for countries.

    A check digit makes a match sure where the value also looks like one. A plain number of up to ten
    digits, or what Presidio calls weak, scores so low that it takes a word of the recogniser's context.
    """

    name = "countries"
    before = 60
    after = 64

    def __init__(self, entities: Sequence[str], least: Mapping[str, float] | None = None) -> None:
        super().__init__(least)
        self.entities = tuple(entities)
        self._rules: list[_Rule] = []

    def load(self) -> None:
        """Import Presidio's recognisers and compile their patterns."""
        from presidio_analyzer import predefined_recognizers

        for entity in self.entities:
            recognizer = getattr(predefined_recognizers, ENTITIES[entity])()
            recognizer.analyze(" ", [entity])  # compiles the patterns
            patterns = [(pattern.compiled_regex, pattern.score) for pattern in recognizer.patterns]
            patterns += [(re.compile(pattern), score) for pattern, score in _MORE.get(entity, ())]
            self._rules.append(_Rule(recognizer, entity, patterns, near(recognizer.context or ())))

    def positions(self, text: str) -> Iterator[int]:
        """Where a word with an early digit begins, and the short word right before it."""
        for word in _WORD.finditer(text):
            start = word.start()
            yield start
            if text[max(0, start - 2) : start - 1].isalpha() and (
                before := _WORD_BEFORE.search(text, max(0, start - _LONGEST_BEFORE), start)
            ):
                yield before.start()

    def _find(self, text: str) -> list[Match]:
        if not self._rules:
            self.load()
        rules = [rule for rule in (self._worth_trying(rule, text) for rule in self._rules) if rule.patterns]
        found = []
        for position in self.positions(text) if rules else ():
            low = max(0, position - self.before)
            window = text[low : position + self.after]
            matches = [rule.match(window, position - low) for rule in rules]
            found += [replace(m, start=m.start + low, end=m.end + low) for m in matches if m is not None]
        return found

    def _worth_trying(self, rule: "_Rule", text: str) -> "_Rule":
        """`rule` without the patterns that need a word which `text` does not have."""
        if rule.context and rule.context.search(text):
            return rule
        least = self._least.get(rule.entity, 0.0)
        strong = [pattern for pattern in rule.patterns if pattern[1] >= min(least, _WEAK)]
        return replace(rule, patterns=strong)

    def at(self, window: str, position: int) -> Iterator[Match]:
        """The numbers that begin at `position`; of one entity, the surest."""
        for rule in self._rules:
            if match := rule.match(window, position):
                yield match


@dataclass(frozen=True)
class _Rule:
    recognizer: "PatternRecognizer"
    entity: str
    patterns: list[tuple[Any, float]]  # with the score for looks alone
    context: re.Pattern[str] | None

    def match(self, window: str, position: int) -> Match | None:
        """The surest value that begins at `position`."""
        found = []
        for pattern, score in self.patterns:
            value = pattern.match(window, position, position + _LONGEST)
            if value and not window[value.end() : value.end() + 1].isalnum():
                announced = self.context is not None and self.context.search(window, 0, position)
                found.append(self._judged(value[0].strip(), score, position, bool(announced)))
        matches = [match for match in found if match is not None]
        return max(matches, key=lambda match: (match.score, match.end), default=None)

    def _judged(self, value: str, score: float, start: int, announced: bool) -> Match | None:
        check = _CHECKS.get(self.entity, self.recognizer.validate_result)
        checked = check(value)
        if checked is False or self.recognizer.invalidate_result(value):
            return None
        if not announced and (score < _WEAK or _PLAIN_DIGITS.fullmatch(value)):
            score, checked = min(score, _WEAK), None
        elif checked:
            score = 1.0
        elif announced:
            score = raised(score)
        return Match(start, start + len(value), self.entity, score, bool(checked))
