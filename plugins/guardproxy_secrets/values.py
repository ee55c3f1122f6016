"""Whether a value beside a telling name is a secret: no reference, no identifier, no placeholder.

The patterns here are Python's, and backtrack: none repeats what may be split in two ways.
"""

import re
from dataclasses import dataclass

from guardproxy_secrets.checks import basic
from guardproxy_secrets.judge import JUDGED, MARKS, is_placeholder, is_published, is_random

SCORE = 0.8  # it looks like a secret, and its name says so
WEAK = 0.6  # its name says so

_PASSWORDS = r"passwo?r?d|passwort|kennwort|passwd|passphrase|passcode|pwd|pass|ps[kw]\b|pw\b"
KEYS = (
    f"{_PASSWORDS}|secret|token|api[_.-]?key|auth[_.-]?key|access|private|encryption[_.-]?key|signing[_.-]?key|"
    "credential|account[_.-]?key|license[_.-]?key|webhook|client[_.-]?id|app[_.-]?id|key"
)


@dataclass(slots=True)
class Value:
    """The beginning of a value, what stands before it from its name on, what before that, what behind."""

    text: str
    head: str
    before: str = ""
    behind: str = ""
    enclosed: bool = False  # in quotes or in a tag, which close it

    def shorten(self, length: int) -> int:
        """Leave out what ends a sentence, or begins the next parameter of a query; the new length."""
        parameter = _PARAMETER.search(self.text) if "&" in self.text else None
        if parameter:
            length = parameter.start()
            self.behind = "&"
        if length <= len(self.text):
            self.text = self.text[:length].rstrip(MARKS)
            length = len(self.text)
        return length

    @property
    def has_parameter(self) -> bool:
        """Whether the next parameter of a query follows."""
        return "&" in self.text and _PARAMETER.search(self.text) is not None

    @property
    def name(self) -> str:
        """The name in the head, in lower case, as far as it belongs to the keyword."""
        found = _NAME.match(self.head)
        return found[0].lower() if found else ""

    @property
    def quoted(self) -> bool:
        """Whether a quote begins the value."""
        return self.head[-1:] in "\"'`"


_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_PARAMETER = re.compile(r"&(?:amp;)?[A-Za-z_.-]{1,20}=")

# References and calls to where a secret is kept are no secrets.
_BARE_REFERENCE = re.compile(r"[$%@&*#:({\[</.]")
_REFERENCE = re.compile(
    r"(?:true|false|null|none|undefined|string|required|optional)$|https?:|arn:|vault:|"
    r"sha(?:1|256|384|512)[-:]|[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|::|->)[A-Za-z_]+)+$|"
    r"(?:process|os|self|this|env|config|settings|import\.meta|vars|var|local|module|data|context|props)\.[a-z_]",
    re.IGNORECASE,
)
# In quotes, a symbol begins a reference only if a name or a pattern follows.
_QUOTED_REFERENCE = re.compile(
    r"[$%@&*#:.][A-Za-z_][A-Za-z_.-]*\d{0,2}[%*]?$|\$(?:[A-Z][A-Z0-9_]*|[a-z_][a-z0-9_]*)$|#[0-9A-Fa-f]{3,8}$|"
    r"<.*>$|\[.*\]$|\*+$|%[(%0-9-]|\.{0,2}/|~/|@[A-Za-z]+[.(]|[A-Za-z_.]+\(|[a-z]+://"
)
_FORMAT = re.compile(
    r"\$\(|#\{|</|\{(?:[A-Za-z_.]*|[0-9])(?:[:!]\w+)?\}|%[sd]\b|"  # what is filled in, or marked up
    r"\(\?|\\[dwsb]|\[\^?[A-Za-z0-9]-|\.\*|\{\d+,"  # what a regular expression has
)
_LIST = re.compile("[,;|]")
_FILES = (".com", ".net", ".org", ".io", ".pem", ".json", ".txt", ".md")
_WORDS = re.compile(r"[A-Za-z]+(?:[_./:-][A-Za-z]+)*\d{0,2}")
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DIGIT = re.compile("[0-9]")
_LETTER = re.compile("[A-Za-z]")
_PIECE = re.compile("[-_./:]")
_CAMEL_CASE = re.compile("[a-z]*[0-9]{0,5}(?:[A-Z](?:[a-z]{2,})?[0-9]{0,5})*")
_HUMP = re.compile("[A-Z][a-z]{3,}")
_STRONG_NAME = re.compile(
    "secret|token|api[_.-]?key|auth|credential|encryption|signing|account|license|webhook"
)
_PASSWORD = re.compile(
    r"(?:password|passwort|kennwort|passwd|passwor|passphrase|passcode|pwd|(?:^|[_.-])(?:pass|pw|psk|psw))$"
)
# What a name says of its value: not the secret itself, or one for everybody.
_OTHER_THING = re.compile(
    r"(?:length|name|type|path|file|url|uri|endpoint|ttl|count|size|credentials?[_-]?id|expir[a-z]*|version|hash|sum|"
    r"digest|integrity|etag|fingerprint|commit|revision|label|title|hint|policy|format|prefix|suffix|ref)s?$",
)
_NOT_ACCESS = re.compile(
    "access(?:ib|or|ion)|tokeni[sz]|key(?:word|board|stone|code)|pass(?!w|phrase|code|$)|privately"
)
_SHORT = ("pass", "pw", "psk", "psw")
_NO_IDENTIFIER = re.compile("(?:client|app)[_.-]?id$")
_FOR_EVERYBODY = re.compile(
    r"(?:next|page|continuation|sync|pub|public|publishable|csrf|xsrf|cache|primary|foreign|sort|partition|idempotency|recv|thenticity|site|tur|mon|hoc)[_-]?$",
    re.IGNORECASE,
)
# A key of which a text shows only the beginning is still one that a person put there.
_KEY_LIKE = re.compile(
    r"(?:sk-(?:proj|ant|or|svcacct|admin)-|[sr]k_(?:live|test)_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|npm_|"
    r"AKIA|AIza|SG\.|pypi-)(?=.{6})(?!(?:\w{0,8}[_-])?(?:key|token|secret)\b)"
)
_VARIABLE = re.compile(r"^\$\{?\w+\}?$|^\$\(|^%\w+%$|^[<{\[(].*|^\*+$|[$#{]\{")
# Passwords that stand for one, and the names that programs give to their values.
_NO_PASSWORD = re.compile(
    r"(?:(?:user|test|pass|pw|admin|secret|token|string|value|field|input)[a-z]{0,12}|root|guest|arg|param|var|name|"
    r"text|type|label|foo|bar|baz|step|line|row|col|item|hash|sha|md|utf|base|aes|rsa|bcrypt|scrypt|argon|pbkdf|host|"
    r"localhost|old|new|my|key|postgres|mysql|mongo|redis|changeme|default|hidden|prompt)[_-]?\d{0,2}|"
    r"(?:sha|md|utf|base|aes|rsa|hmac)[_-]?\d[a-z0-9_-]{0,16}",
    re.IGNORECASE,
)
_MIXED_CASE = re.compile("[a-z][A-Z].*[a-z][A-Z]")
_BLANKS = frozenset(["", *" \t\n\"'`"])
_MEASURE = re.compile("[0-9]+-?[a-z]+$")  # 256-bit
_SYMBOL = re.compile(r"[!@#$%^&*~+?]")
_BLANK = re.compile(r"\s")
_LEADING = re.compile(r"[A-Za-z0-9_+/=.~!@#%^&*$?:-]*")  # of a value in quotes, what could stand without them
_NO_MARKUP = str.maketrans("<>", "~~")
_OUTSIDE = "()[]{}.,:;!?*\"'"
_WORD_OR_NUMBER = re.compile(r"[A-Za-z]+(?:[-_./'][A-Za-z]+)*[-_./]?\d{0,4}|[0-9.,/:%+-]+[A-Za-z]{0,12}")
_DIGITS = re.compile("[0-9]+")
_PLAIN_PIECES = re.compile("[-_./:+]+")
_PLAIN_PIECE = re.compile("[A-Za-z]+[0-9]{0,4}|[0-9]+[A-Za-z]*|x86")
# Addresses, paths, parameters, identifiers and digests stand behind the word in prose and in programs.
_NOT_NAMED = re.compile(r"[=/]|&#|@[\w-]+\.[a-z]|^[0-9a-f-]{12,}$|^[a-z]+(?:_[a-z0-9]+)+$")
_WEAK_CHOICE = re.compile("(?:P[a@]ssw[o0]rd|Passwort|Admin|Secret|Test|Changeme|Default|Guest)[0-9]{1,4}!?")
_CHANGE_ME = re.compile("(?i:change_?me|letmein)[0-9]{1,4}!?")
_CALL = re.compile(r"\w\([^()]*$")
_DEFINITION = re.compile(r"\b(?:def|function|func|fn|fun)[ \t]")
MOST_WORDS = 4  # of a password in quotes


def assigned(value: Value) -> float:
    """`name = value`."""
    text, name = value.text, value.name
    if value.enclosed and not names_password(value.head, value.before):
        text = _LEADING.match(text)[0] if not _BLANK.search(text) else ""  # type: ignore[index]
        value = Value(text, value.head, value.before)
    if value.behind in ("(", "[") or ("," in value.head and not value.quoted):  # a call, a list of names
        return 0
    if _FOR_EVERYBODY.search(value.before):
        return 0
    if names_password(value.head, value.before):
        return _assigned_password(value)
    if len(text) < 8 or _NOT_ACCESS.match(name) or not _DIGIT.search(text):
        return SCORE if len(text) >= 12 and _is_begun_key(text) else 0
    return SCORE if _is_secret(value, name) or _is_begun_key(text) else 0


def beside(value: Value) -> float:
    """A name and a value with nothing but a blank between them: only what plainly looks like a key."""
    if _FOR_EVERYBODY.search(value.before):
        return 0
    return SCORE if _is_secret(value, value.name, strict=True) and is_random(value.text) else 0


def spoken(value: Value) -> float:
    """`the password is hunter2`."""
    return WEAK if _looks_chosen(value.text) and not _MEASURE.match(value.text) else 0


def given(value: Value) -> float:
    """`--password value`, `IDENTIFIED BY 'value'`: words that also stand in prose."""
    return _assigned_password(value) if _looks_chosen(value.text) else 0


def named(value: Value) -> float:
    """`password value`, `pass value`: words of prose and of programs follow, too."""
    text = value.text
    core = text.rstrip("!?*+")
    if value.behind in ("(", "[") or _NOT_NAMED.search(text) or _is_reference(text) or _is_plain(core):
        return 0
    symbols, groups = _SYMBOL.search(text), _DIGITS.findall(core)
    return WEAK if _looks_chosen(text) and groups and (symbols or len(groups) > 1) else 0


def spoken_of(value: Value) -> float:
    """`the password for the server is value`."""
    text = value.text
    if value.enclosed:
        return min(WEAK, _enclosed_password(text))
    return WEAK if _looks_chosen(text) and not _is_reference(text) and not _is_plain(text.rstrip("!")) else 0


def argument(value: Value) -> float:
    """The argument of a command that takes a password there."""
    if value.enclosed:
        return _enclosed_password(value.text)
    return SCORE if _looks_chosen(value.text) and not _is_reference(value.text) else 0


def password(value: Value) -> float:
    """A password where only a password can be: in a URL, in `-u user:password`, in `.netrc`."""
    text = value.text
    user = re.split(r"[/\s\"'=]", value.head.rstrip(":"))[-1]
    if text == user or _VARIABLE.search(text) or _NO_PASSWORD.fullmatch(text) or is_placeholder(text):
        return 0
    if text.isdigit() and len(text) < 6:  # a port, a user's number
        return 0
    return SCORE if is_random(text, 1.5) else 0


def option(value: Value) -> float:
    """`-u user:password`, as an argument of its own."""
    return password(value) if value.before[-1:] in _BLANKS else 0


def header(value: Value) -> float:
    """A bearer token."""
    return SCORE if _is_secret(value, "") and is_random(value.text) else 0


def credentials(value: Value) -> float:
    """Base64 of a user and a password."""
    return basic(value.text)


def _is_secret(value: Value, name: str, strict: bool = False) -> bool:
    text = value.text
    if _is_reference(text) or _OTHER_THING.search(name) or _is_identifier(text, name):
        return False
    digits, letters = len(_DIGIT.findall(text)), len(_LETTER.findall(text))
    if digits >= 4 and letters >= 4:
        plain = not text.endswith("-") or not strict
    elif digits >= 2 and len(text) >= 20 and _MIXED_CASE.search(text):
        plain = not strict
    elif strict or (name and not _STRONG_NAME.search(name)):
        plain = False
    else:
        plain = len(text) >= 10 if digits and letters else digits >= 16
    return plain and is_random(text, 2.9) and not is_published(text)


def names_password(head: str, before: str = "") -> bool:
    """Whether the name in `head` is that of a password."""
    name = Value("", head).name
    return _PASSWORD.search(name) is not None and not (name in _SHORT and before[-1:].isalpha())


def _assigned_password(value: Value) -> float:
    text = value.text
    if _is_weak_choice(value):
        return WEAK
    if value.enclosed:
        return _enclosed_password(text)
    if _is_reference(text) or not is_random(text, 2.9):
        return 0
    if _looks_chosen(text):
        return SCORE if len(text) >= 8 else WEAK
    return SCORE if text.isdigit() and len(text) >= 16 else 0


def begins_password(head: str, text: str) -> bool:
    """Whether `text` may be what stands before a `;` in the password that `head` names."""
    return len(text) >= 3 and names_password(head) and _DIGIT.search(text[:JUDGED]) is not None


def _is_weak_choice(value: Value) -> bool:
    """A word for a password with a digit; in code, where it is used and not where it is a default."""
    if _DEFINITION.search(value.before):
        return False
    if value.enclosed and _CALL.search(value.before) and _CHANGE_ME.fullmatch(value.text):
        return True
    return (value.enclosed or ":" in value.head) and _WEAK_CHOICE.fullmatch(value.text) is not None


def _enclosed_password(text: str) -> float:
    """Any symbols may be in quotes; so are the words that a form shows, lists, formats and patterns."""
    if _is_quoted_reference(text):
        return 0
    text = text.translate(_NO_MARKUP)
    if not is_random(text, 2.9):
        return 0
    words = text.split()
    if len(words) == 1 and all(map(_WORD_OR_NUMBER.fullmatch, filter(None, _LIST.split(text)))):
        words = _LIST.split(text)  # a list without blanks
    if len(words) > 1:
        chosen = sum(map(_is_no_word, words))
        return WEAK if chosen and 2 * chosen >= len(words) and len(words) <= MOST_WORDS else 0
    if _looks_chosen(text):
        return SCORE if len(text) >= 8 else WEAK
    return SCORE if text.isdigit() and len(text) >= 16 else 0


def _is_plain(text: str) -> bool:
    """A measure, or several words and numbers that dashes join: 256-bit, SHA-256, 2FA-protected."""
    pieces = _PLAIN_PIECES.split(text)
    return _MEASURE.match(text) is not None or (
        len(pieces) > 1 and all(map(_PLAIN_PIECE.fullmatch, filter(None, pieces)))
    )


def _is_no_word(text: str) -> bool:
    """Of several words: one that has a digit, or a symbol, where no word or number has it."""
    core = text.strip(_OUTSIDE)
    return _looks_chosen(core) and not _WORD_OR_NUMBER.fullmatch(core)


def _looks_chosen(text: str) -> bool:
    """A password that somebody chose: letters with a digit or a symbol, and neither words nor a name."""
    core = text.rstrip("!?*")
    if _NO_PASSWORD.fullmatch(core) or is_placeholder(text) or not _LETTER.search(core):
        return False
    if _DIGIT.search(core):
        return not (re.search("[_./:-]", core) and _WORDS.fullmatch(core))
    return _SYMBOL.search(core[1:]) is not None


def _is_quoted_reference(text: str) -> bool:
    if _QUOTED_REFERENCE.match(text) or _FORMAT.search(text):
        return True
    return _names_reference(text)


def _is_reference(text: str) -> bool:
    return _BARE_REFERENCE.match(text) is not None or _names_reference(text.rstrip("!?"))


def _names_reference(text: str) -> bool:
    return _REFERENCE.match(text) is not None or "${" in text or "{{" in text or text.lower().endswith(_FILES)


def _is_identifier(text: str, name: str) -> bool:
    if _WORDS.fullmatch(text):
        return True
    if _UUID.match(text) and name.endswith("id") and not _NO_IDENTIFIER.search(name):
        return True
    if _CAMEL_CASE.fullmatch(text) and len(_HUMP.findall(text)) >= 2:
        return True
    pieces = _PIECE.split(text)
    words = sum(len(piece) >= 4 and piece.isalpha() for piece in pieces)
    return words >= 2 and all(re.fullmatch("[A-Za-z]*[0-9]*", piece) for piece in pieces)


def _is_begun_key(text: str) -> bool:
    found = _KEY_LIKE.match(text)
    return found is not None and not is_placeholder(text) and not is_published(text)
