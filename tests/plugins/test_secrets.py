"""The guard `secrets`: every rule, its surroundings, what is no secret, and locality."""

import random
import re

import pytest

from guardproxy import Match
from guardproxy.testing.locality import check_locality
from guardproxy_secrets import Contexts, PrivateKeys, Tokens
from guardproxy_secrets.rules import RULES, Rule
from guardproxy_secrets.tokens import is_random

DETECTORS = (Tokens(), Contexts(), PrivateKeys())
for _detector in DETECTORS:
    _detector.load()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.,%&~@{}|()*$"


def scan(text: str) -> list[Match]:
    return [match for detector in DETECTORS for match in detector.scan([text])[0]]


def body(alphabet: str, length: int, seed: int) -> str:
    """`length` characters of a character class, by chance but always the same; they look like a key."""
    letters = [c for c in ALPHABET if re.match(alphabet, c) and (c.isalnum() or c == "_")]
    chance = random.Random(seed)
    for _ in range(100):
        made = "".join(chance.choice(letters) for _ in range(length))
        if length < 8 or (is_random(made) and any(map(str.isalpha, made)) and not made.startswith("_")):
            return made
    raise AssertionError(f"{length} characters of {alphabet} never look like a key.")


def prefix(pattern: str, seed: int) -> str:
    """A text that `pattern` (literals, classes with a count, alternatives) describes."""
    chance = random.Random(seed)
    pattern = re.sub(r"\(\?:([^()]*)\)\?", "", pattern)
    pattern = re.sub(r"\(\?:([^()|]*)\|[^()]*\)", r"\1", pattern)

    def of_class(found: re.Match[str]) -> str:
        letters = [c for c in ALPHABET if re.match(found[1], c) and c.isalnum()] or [found[1][1]]
        if found[3] == "?":
            return ""
        count = int(re.split(",", found[2])[-1] or 8) if found[2] else 4 if found[3] == "+" else 1
        return "".join(chance.choice(letters) for _ in range(count))

    pattern = re.sub(r"(\[[^\]]+\])(?:\{([\d,]+)\}|([+?]))?", of_class, pattern)
    return re.sub(r"\\(.)", r"\1", pattern)


def example(rule: Rule) -> str:
    seed = sum(map(ord, rule.category + rule.prefix))
    length = rule.most if rule.most is not None else rule.least + 7
    return prefix(rule.prefix, seed) + body(rule.alphabet, length, seed)


def name(rule: Rule) -> str:
    return f"{rule.category}-{rule.keyword}"


@pytest.mark.parametrize("rule", RULES, ids=name)
@pytest.mark.parametrize(
    "around",
    ["{}", "key is {} today", '"{}"', "KEY={}\n", "{{'k': '{}'}}", "see {}.", "line\\n{}\\nline", "({})"],
)
def test_every_rule_finds_its_example(rule: Rule, around: str) -> None:
    text = around.format(example(rule))
    start = text.index(example(rule))
    end = start + len(example(rule))
    covered = {i for m in scan(text) if m.validated for i in range(m.start, m.end)}
    assert covered >= set(range(start, end)), text


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.random], ids=name)
def test_placeholders_are_no_keys(rule: Rule) -> None:
    length = rule.most if rule.most is not None else rule.least + 7
    letter = next(c for c in "xX0aA2" if re.match(rule.alphabet, c))
    assert [m.category for m in tokens_in(prefix(rule.prefix, 1) + letter * length)] == []


def tokens_in(text: str) -> list[Match]:
    return DETECTORS[0].scan([text])[0]


@pytest.mark.parametrize("rule", [r for r in RULES if r.most and r.random and r.most > 8], ids=name)
def test_a_longer_run_is_another_thing(rule: Rule) -> None:
    found = tokens_in(example(rule) + body(rule.alphabet, 9, 3))
    assert rule.category not in {m.category for m in found}


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("password = 'Tr0ub4dor&3x'", ["GENERIC_SECRET"]),
        ('"api_key": "' + "8f3kQ9" + 'zLm2Xw7Tn4"', ["GENERIC_SECRET"]),
        ("postgres://app:" + "s3cr3tPw" + "@db.internal:5432/x", ["URL_PASSWORD"]),
        ("Authorization: Bearer " + "q8Zk3Lw9" + "Xn2Vb7Tc4Ry6", ["BEARER_TOKEN"]),
        ("curl -u admin:" + "Zx81kk-q" + " https://x.example", ["URL_PASSWORD"]),
    ],
)
def test_surroundings(text: str, categories: list[str]) -> None:
    assert sorted({m.category for m in scan(text)}) == categories


@pytest.mark.parametrize(
    "text",
    [
        "The password must be changed every month.",
        "password: required",
        "token = get_token(request)",
        "secret = os.environ['SECRET']",
        "api_key = ${API_KEY}",
        "password = <your-password>",
        "token: xxxxxxxxxxxxxxxxxxxxxxxx",
        "https://example.org:8080/path@version",
        '"integrity": "sha512-oRQ2Vq9k3Lw9Xn2Vb7Tc4Ry6oRQ2Vq9k3Lw9Xn2Vb7Tc4Ry6=="',
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "id: 123e4567-e89b-12d3-a456-426614174000",
        "const primaryKey = 'user_account_id_2';",
        "secret_length = X25519.secret_length",
        "-----BEGIN PRIVATE KEY----- is how such a file begins; there is more to say about this format.",
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert [(m.category, text[m.start : m.end]) for m in scan(text) if not m.open] == []


def pem(lines: int = 6, kind: str = "") -> str:
    word = "PRIVATE" + " KEY"
    inside = "\n".join(body("[A-Za-z0-9+/]", 64, line) for line in range(lines))
    return f"-----BEGIN {kind}{word}-----\n{inside}\n-----END {kind}{word}-----"


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
@pytest.mark.parametrize("around", ["{}", "here: {} and more", '{{"key": "{}"}}', "> {}"])
def test_private_keys(kind: str, around: str) -> None:
    text = around.format(pem(kind=kind))
    if "{" in around[0:2] and around != "{}":
        text = text.replace("\n", "\\n")
    (found,) = DETECTORS[2].scan([text])[0]
    assert text[found.start : found.end].startswith("-----BEGIN")
    assert text[found.start : found.end].endswith("-----")
    assert not found.open


@pytest.mark.parametrize("unit", ["-sk-" + "proj-{}", "api_key={}", "?key={}"])
@pytest.mark.parametrize("marks", ["", "...", ". " + "x" * 70])
def test_keys_in_one_run_of_characters_end_where_it_does(unit: str, marks: str) -> None:
    keys = "".join(unit.format(body("[A-Za-z0-9]", 41, seed)) for seed in range(40))
    text = f"x {keys}{marks} y"
    found = scan(text)
    assert len(found) >= 20  # one judged by its looks alone may be none
    assert {match.end for match in found} == {2 + len(keys)}


def test_prose_behind_a_private_key_that_was_cut_is_none_of_it() -> None:
    text = pem()[:200] + "\n\nI hope that helps. Please tell me, if there is more to do: I am here."
    (found,) = DETECTORS[2].scan([text])[0]
    assert text[found.end :].startswith(" hope that helps")


def test_an_unfinished_private_key_is_open_up_to_its_end() -> None:
    text = "x " + pem()
    for end in range(text.index("KEY-----") + 8, len(text)):
        (found,) = DETECTORS[2].scan([text[:end]])[0]
        assert (found.start, found.end, found.open) == (2, end, True)


EXAMPLES = [
    *(example(rule) for rule in RULES),
    *(f"{example(rule)}." for rule in RULES[::5]),
    "password = 'Tr0ub4dor&3x'",
    'api_key: "8f3kQ9zLm2Xw7Tn4"',
    "postgres://app:s3cr3tPw@db/",
    "Authorization: Bearer q8Zk3Lw9Xn2Vb7Tc4Ry6",
    pem(2),
    pem(1)[:60],
]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: str(detector.name))
def test_detectors_are_local(detector: Tokens) -> None:
    check_locality(detector, EXAMPLES, max_examples=400)
