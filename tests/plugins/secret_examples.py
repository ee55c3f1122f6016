"""Examples of secrets, made from their rules: by chance, but always the same, and never a real key."""

import base64
import json
import random
import re
import zlib

from guardproxy_secrets.checks import crc32, json_inside, jwt
from guardproxy_secrets.judge import is_random
from guardproxy_secrets.rule import Rule

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.,%&~@{}|()*$"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CLASSES = {"": "[A-Za-z0-9]", "w": "[A-Za-z0-9]", "h": "[a-f0-9]", "d": "[0-9]", "u": "[A-Z0-9]"}


def name(rule: Rule) -> str:
    return rule.id


def by_chance(alphabet: str, length: int, seed: int) -> str:
    """`length` characters of a class that look like a key, and hold digits where the class does."""
    letters = [c for c in ALPHABET if re.match(alphabet, c) and (c.isalnum() or c == "_")]
    chance = random.Random(seed)
    for _ in range(500):
        made = "".join(chance.choice(letters) for _ in range(length))
        if length < 10 or _looks_like_a_key(made, letters):
            return made
    raise AssertionError(f"{length} characters of {alphabet} never look like a key.")


def _looks_like_a_key(made: str, letters: list[str]) -> bool:
    if not any(map(str.isalpha, letters)):
        return True
    digits = sum(map(str.isdigit, made))
    return (
        is_random(made)
        and any(map(str.isalpha, made))
        and made[0].isalnum()
        and digits >= 4 * ("5" in letters)
    )


def filled(template: str, seed: int = 7) -> str:
    """`template` with {16} as 16 letters and digits, {16h} as 16 hexadecimal digits."""
    return re.sub(
        r"\{(\d+)([whdu]?)\}",
        lambda found: by_chance(CLASSES[found[2]], int(found[1]), seed + found.start()),
        template,
    )


def example(rule: Rule) -> str:
    """A key as `rule` describes it, with a right checksum."""
    seed = sum(map(ord, rule.id))
    begin = filled(rule.sample, seed)
    length = rule.most if rule.most is not None else rule.least + 7
    if rule.check is crc32:
        body = by_chance(rule.alphabet, 30, seed)
        return begin + body + base62(zlib.crc32(body.encode()))
    if rule.check is jwt:
        key = json.loads(base64.b64decode(begin + "=" * (-len(begin) % 4) + "==").decode() + '""}').popitem()[
            0
        ]
        header = coded(json.dumps({key: "HS256", "alg": "HS256"}, separators=(",", ":")))
        return f"{header}.{by_chance(rule.alphabet, 40, seed)}"
    if rule.check is json_inside:
        before, _, inside = begin.rpartition("eyJ")
        key = "k" if inside else "u"
        return before + coded(json.dumps({key: by_chance("[a-z0-9]", length, seed)}, separators=(",", ":")))
    body = by_chance(rule.alphabet, length, seed) if length else ""
    return begin + body


def coded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def base62(number: int) -> str:
    return "".join(BASE62[number // 62**place % 62] for place in range(5, -1, -1))
