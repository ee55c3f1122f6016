"""The local detectors of `pii`: what they find and what they leave alone."""

import pytest

from guardproxy import Match
from guardproxy_pii import STRUCTURED
from guardproxy_pii.cards import luhn
from guardproxy_pii.iban import LENGTHS, checks


def _matches(text: str) -> list[Match]:
    found: list[Match] = []
    for kind in STRUCTURED:
        results = kind().scan([text])
        assert isinstance(results, list)
        found += results[0]
    return sorted(found, key=lambda match: (match.start, match.end))


def _found(text: str) -> list[tuple[str, str]]:
    return [(match.category, text[match.start : match.end]) for match in _matches(text)]


def _card(prefix: str, length: int) -> str:
    body = prefix + "7" * (length - len(prefix) - 1)
    return next(body + digit for digit in "0123456789" if luhn(body + digit))


def _iban(country: str, account: str) -> str:
    return next(f"{country}{n:02}{account}" for n in range(2, 99) if checks(f"{country}{n:02}{account}"))


@pytest.mark.parametrize(
    "card",
    [
        *(_card("4", length) for length in (13, 16, 19)),
        *(_card(prefix, 16) for prefix in ("51", "55", "2221", "2500", "2720", "6011", "65", "3530", "2201")),
        *(_card(prefix, 15) for prefix in ("34", "37")),
        *(_card("6304", length) for length in range(12, 20)),
        *(_card("62", length) for length in (16, 19)),
        _card("36", 14),
    ],
)
@pytest.mark.parametrize("text", ["card {}", "{}", "({}), thanks.", "n°\t{}\n", "cc={};", '"{}"'])
def test_cards_of_every_network(card: str, text: str) -> None:
    assert _found(text.format(card)) == [("CREDIT_CARD", card)]


@pytest.mark.parametrize(
    "card",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "3782 822463 10005",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111\u20131111\u20131111\u20131111",
    ],
)
def test_cards_in_groups(card: str) -> None:
    assert _found(f"pay with {card} please") == [("CREDIT_CARD", card)]
    assert all(match.validated for match in _matches(card))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("卡号4111111111111111です", ("CREDIT_CARD", "4111111111111111")),
        ("账号DE89370400440532013000，", ("IBAN_CODE", "DE89370400440532013000")),
        ("地址203.0.113.7的", ("IP_ADDRESS", "203.0.113.7")),
        ("地址2001:db8::7的", ("IP_ADDRESS", "2001:db8::7")),
        ("号码224-87-3831是", ("US_SSN", "224-87-3831")),
        ("手机13812345678。", ("PHONE_NUMBER", "13812345678")),
        ("電話は03-1234-5678です", ("PHONE_NUMBER", "03-1234-5678")),
        ("请打+14155552671吧", ("PHONE_NUMBER", "+14155552671")),
    ],
)
def test_letters_of_other_scripts_stand_beside_a_number(text: str, expected: tuple[str, str]) -> None:
    assert expected in _found(text)


def test_every_column_of_a_row_is_found() -> None:
    assert _found("7,4111111111111111,224-87-3831,602-272-9781,203.0.113.7,ada@example.org,8") == [
        ("CREDIT_CARD", "4111111111111111"),
        ("US_SSN", "224-87-3831"),
        ("PHONE_NUMBER", "602-272-9781"),
        ("IP_ADDRESS", "203.0.113.7"),
        ("EMAIL_ADDRESS", "ada@example.org"),
    ]


@pytest.mark.parametrize(
    ("text", "cards"),
    [
        ("2026 4111 1111 1111 1111", ["4111 1111 1111 1111"]),
        ("4111 1111 1111 1111 2026", ["4111 1111 1111 1111"]),
        (
            "4111 1111 1111 1111 5555 5555 5555 4444",
            ["4111 1111 1111 1111", "5555 5555 5555 4444"],
        ),
    ],
)
def test_no_card_consumes_another(text: str, cards: list[str]) -> None:
    found = [value for category, value in _found(text) if category == "CREDIT_CARD"]
    assert [card for card in cards if card not in found] == []


def test_overlapping_cards_are_both_reported() -> None:
    # Both the first and the last sixteen of these twenty digits are cards.
    candidates = (
        f"4{a:03} 4{b:03} 1111 1111 {c:04}" for a in range(20) for b in range(20) for c in range(50)
    )
    text = next(
        text for text in candidates if luhn(text[:19].replace(" ", "")) and luhn(text[5:].replace(" ", ""))
    )
    assert _found(text) == [("CREDIT_CARD", text[:19]), ("CREDIT_CARD", text[5:])]


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # the check digit
        "9111111111111111",  # no issuer
        "prefix4111111111111111",
        "4111111111111111suffix",
        "0.4111111111111111",
        "4111111111111111.5",
        "41111111111111111111111",
        "1732443600000",  # milliseconds
        "11111111-4111-1111-4111-411111111111",
        "4 1 1 1 1",
    ],
)
def test_no_card(text: str) -> None:
    assert [found for found in _found(text) if found[0] == "CREDIT_CARD"] == []


@pytest.mark.parametrize(
    "iban",
    [
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "GB82-WEST-1234-5698-7654-32",
        "fr7630006000011234567890189",
        _iban("DZ", "4002100001113000000570"[:22]),
        _iban("MA", "011519000001205000534921"),
        _iban("MZ", "000301080016367102371"),
        _iban("SV", "CENR00000000000000700025"),
    ],
)
def test_ibans(iban: str) -> None:
    for text in (iban, f"IBAN: {iban}.", f"to {iban} and so on", f"{iban} EUR"):
        assert ("IBAN_CODE", iban) in _found(text)


@pytest.mark.parametrize(
    "text",
    [
        "DE88370400440532013000",  # the check digits
        "XX89370400440532013000",  # no country
        "DE8937040044053201300",  # too short
        "DE893704004405320130001",  # too long
        "XDE89370400440532013000",
        "GB82123412345698765432",  # digits in place of the bank's letters
        "DE89  3704 0044 0532 0130 00",
    ],
)
def test_no_iban(text: str) -> None:
    assert [found for found in _found(text) if found[0] == "IBAN_CODE"] == []


def test_iban_lengths() -> None:
    assert len(LENGTHS) > 90
    assert {country: LENGTHS[country] for country in ("NO", "DE", "FR", "MT", "RU", "DZ", "SV")} == {
        "NO": 15,
        "DE": 22,
        "FR": 27,
        "MT": 31,
        "RU": 33,
        "DZ": 26,
        "SV": 28,
    }


@pytest.mark.parametrize(
    ("text", "mail"),
    [
        ("mail ada@example.org.", "ada@example.org"),
        ("<Ada.Byron+list@mail.example.co.uk>", "Ada.Byron+list@mail.example.co.uk"),
        ("mailto:ada@example.org?subject=x", "ada@example.org"),
        ("'o'brien@example.ie'", "o'brien@example.ie"),
        ('"ada lovelace" "foobar"@example.com', '"foobar"@example.com'),
        ("иван@пример.рф", "иван@пример.рф"),
        ("root@[192.0.2.1]", "root@[192.0.2.1]"),
        ("x@x.au", "x@x.au"),
        ("*ada@example.org*", "ada@example.org"),
        *((rf'{{"a": "x\{letter}ada@example.org"}}', "ada@example.org") for letter in "bfnrt"),
        (r"CORP\ada@example.org", "ada@example.org"),
        (r"CORP\n@example.org", "n@example.org"),
        ("ada@example.org--", "ada@example.org"),
        ("a@b.example,c@d.example"[:11], "a@b.example"),
    ],
)
def test_mail(text: str, mail: str) -> None:
    assert ("EMAIL_ADDRESS", mail) in _found(text)
    assert all(match.validated for match in _matches(text) if match.category == "EMAIL_ADDRESS")


@pytest.mark.parametrize(
    "text",
    [
        "@app.route('/')",
        "lodash@4.17.21",
        "icon@2x.png",
        "main@index.js.map",
        "git@github.com:owner/name.git",
        "a@b",
        "ada@@example.org",
        "ada@-example.org",
        "x" * 65 + "@example.org",
        "a..b@example.org",
    ],
)
def test_no_mail(text: str) -> None:
    assert [found for found in _found(text) if found[0] == "EMAIL_ADDRESS"] == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+33612457898", "+33612457898"),
        ("at +41 (0)71 526 99 04.", "+41 (0)71 526 99 04"),
        ("+1-604-696-5272x565", "+1-604-696-5272x565"),
        ("001-253-366-9781", "001-253-366-9781"),
        ("(602)272-9781", "(602)272-9781"),
        ("it was 201-948-1927, I think", "201-948-1927"),
        ("Phone:\n451 5986", "451 5986"),
        ("+1\u2011604\u2011696\u20115272", "+1\u2011604\u2011696\u20115272"),
        ("call me on 03.93.92.16.85", "03.93.92.16.85"),
        ("Mobile: 0487 98 11 92\n", "0487 98 11 92"),
        ("Telefon: 030/901820", "030/901820"),
        ("Telefonnummer: 0171 1234567", "0171 1234567"),
        ("Mobil: 0171-1234567", "0171-1234567"),
        ("phone_number: 4155552671", "4155552671"),
        ('"phoneNumber": "4155552671"', "4155552671"),
        ("телефон: 8 (912) 345-67-89", "8 (912) 345-67-89"),
        ("tel 0800 1000000", "0800 1000000"),
        ("Telefon 0171/1234567", "0171/1234567"),
        ("Telefonnummer: 030 901820", "030 901820"),
        ("Mobil: 0171/1234567", "0171/1234567"),
        ("My German number is 0171 1234567", "0171 1234567"),
        ("my new number: 0171 1234567", "0171 1234567"),
    ],
)
def test_phones(text: str, number: str) -> None:
    assert ("PHONE_NUMBER", number) in _found(text)


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-11-24 at 10:30",
        "call on 24.11.2026",
        "451 5986",
        "tel: see order 451 5986",
        "+1",
        "+999999999999",
        "build 20261124123059",
        "12345678-1234-1234-1234-123456789012",
        "tel id 00000000-0000-0033-6124-578980000000",
        "M10 20 30 40 50 60 70",
        "call 192.168.0.1",
        "my account number is 0171 1234567",
        "my tracking number is 0171 1234567",
        "the number is 0171 1234567",
        "call the function with 1000000 iterations",
        "to reach more than 12 345 678 users",
        "contact 1000000 users",
        "we reached 1 000 000 users",
        "fax machines sold: 1200000",
        "+10000000000",
        "mobile 2023 10 15",
    ],
)
def test_no_phone(text: str) -> None:
    assert [found for found in _found(text) if found[0] == "PHONE_NUMBER"] == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("224-87-3831", "224-87-3831"),
        ("ssn-224-87-3831-", "224-87-3831"),
        ("her ssn is 224 87 3831", "224 87 3831"),
        ("social security number: 224873831", "224873831"),
        ("ssn_number: 224873831", "224873831"),
    ],
)
def test_social_security(text: str, number: str) -> None:
    assert ("US_SSN", number) in _found(text)


@pytest.mark.parametrize(
    "text",
    [
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "224-00-3831",
        "224-87-0000",
        "224873831",
        "224 87 3831",
        "1224-87-3831",
        "224-87-38311",
        "224-87-3831-1",
        "a224-87-3831",
    ],
)
def test_no_social_security(text: str) -> None:
    assert [found for found in _found(text) if found[0] == "US_SSN"] == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("from 203.0.113.7.", "203.0.113.7"),
        ("203.0.113.7:8080", "203.0.113.7"),
        ("http://203.0.113.7/x", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::7:8%eth0", "fe80::7:8%eth0"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
        ("the address :: is any", "::"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("0.0.0.0:80", "0.0.0.0"),
        ("the net 10.0.0.0/8", "10.0.0.0"),
    ],
)
def test_internet_addresses(text: str, address: str) -> None:
    assert _found(text) == [("IP_ADDRESS", address)]


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
        "version 1.2.3.4",
        "(section 4.2.2.13)",
        "Chrome/120.0.0.0 Safari/537.36",
        'AssemblyVersion("1.0.0.0")',
        "1.2.3.4-beta.5",
        "1.2.3.4+build.7",
        "foo==1.2.3.4",
        "v1.2.3.4",
        "x[::2]",
        "x[1::2]",
        "std::vector",
        "a :: Int",
        "12:30:45",
        "aa:bb:cc:dd:ee:ff",
    ],
)
def test_no_internet_address(text: str) -> None:
    assert [found for found in _found(text) if found[0] == "IP_ADDRESS"] == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("lives at 221 Baker Street, said he", "221 Baker Street"),
        ("1600 Pennsylvania Ave. Suite 12\nWashington, DC 20500", None),
        ("Hauptstraße 12, 10115 Berlin", None),
        ("wohnt in der Hauptstraße 12.", "Hauptstraße 12"),
        ("12 Rue de la Paix", "12 Rue de la Paix"),
        ("Avenida Pedro Ulisses 888", "Avenida Pedro Ulisses 888"),
        ("send it to P.O. Box 242", "P.O. Box 242"),
        ("ZIP: 8592", "ZIP: 8592"),
        ("post code: SE-12345", "post code: SE-12345"),
        ("Apt. 12", "Apt. 12"),
        ("(Kungsgatan 5)", "Kungsgatan 5"),
        ("12, rue de la Paix", "12, rue de la Paix"),
        ("86036 Hauptstraße 12", "86036 Hauptstraße 12"),
        ("at 350 5th Ave, New York, NY 10118", "350 5th Ave, New York, NY 10118"),
        ("45 W 34th St", "45 W 34th St"),
        ("123 MAIN ST", "123 MAIN ST"),
        ("die Karl-Marx-Straße 12", "Karl-Marx-Straße 12"),
        ("1600 Pennsylvania Ave NW, Washington, DC 20500", None),
        ("Kungsgatan 12, 111 43 Stockholm", None),
        ("Kungsgatan 12, SE-111 43 Stockholm", None),
        ("Prinsengracht 263, 1016 GV Amsterdam", None),
        ("Rua Augusta 12, 1100-053 Lisboa", None),
        ("10 Downing Street, London SW1A 2AA", None),
        ("24 Sussex Drive, Ottawa K1M 1M4", None),
    ],
)
def test_street_addresses(text: str, address: str | None) -> None:
    assert ("STREET_ADDRESS", address or text) in _found(text)


@pytest.mark.parametrize(
    "text",
    [
        "Via Google Maps",
        "the 3 Ways",
        "Main Street",
        "12 monkeys",
        "zip 12 files",
    ],
)
def test_no_street_address(text: str) -> None:
    assert [found for found in _found(text) if found[0] == "STREET_ADDRESS"] == []
