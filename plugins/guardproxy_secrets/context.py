"""Secrets that only their surroundings give away: the table of these, and the detector that reads them."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import re2

from guardproxy import Detector, Match
from guardproxy_secrets.distant import DISTANT
from guardproxy_secrets.enclosed import end_of, joined
from guardproxy_secrets.foreign import in_english
from guardproxy_secrets.judge import JUDGED, MARKS, behind, options, single_bytes
from guardproxy_secrets.surroundings import BASE64, GENERIC, QUOTED, RUN, Context
from guardproxy_secrets.tokens import Runs, known_keys
from guardproxy_secrets.values import (
    KEYS,
    Value,
    assigned,
    begins_password,
    beside,
    credentials,
    given,
    header,
    option,
    password,
    spoken,
)

# name = "value", "name": "value", name := value, String name = value, set("NAME", "value"), <name>value
# password: str = "value", password: |\n  value, **password:** value
_GAP = r"[ \t]{0,8}"
_TYPE = (
    r"(?:[ \t]{1,2}(?i:string|str|char\*?)"
    r"|[?]?:[ \t]{0,2}(?:&(?:'static )?)?(?i:string|str|secretstr)[ \t]{0,2})?"
)
_SIGN = (
    rf"{_TYPE}{_GAP}(?:=>|[:.?|+~]{{0,2}}=|\|\|:|:(?:\*\*)?|,|>)"
    rf"[ \t]{{0,4}}(?:[|>][+-]?[ \t]{{0,2}})?\r?\n?{_GAP}"
)


KNOWN = 40  # characters of a key that a provider's rule is asked for
SPAN = 110  # characters that are judged, from the name to the value
BEFORE = 40  # characters before the name


_NEAR: tuple[Context, ...] = (
    Context(
        "assignment",
        GENERIC,
        f"(?i){KEYS}",
        rf"(?i:{KEYS})[A-Za-z0-9_.-]{{0,16}}(?:\\{{0,3}}[\"'\]`]){{0,2}}(?:\*\*)?{_SIGN}{QUOTED}",
        RUN,
        6,
        assigned,
        finds=(
            "password = 'Tr0ub4dor&3x'",
            "password=hunter2",
            '"db_password": "hunter2!"',
            "DB_PASS=s3cr3t-pw",
            'api_key: "{16}"',
            "client_secret := {32}",
            "Server=tcp:db,1433;User ID=app;Password={12};Encrypt=True",
            "jdbc:postgresql://db/app?user=app&password={10}&ssl=true",
            "//npm.example.org/:_authToken={32}",
            "<password>{12}</password>",
            "api_key: sk-proj-{8}",
            r"{\"password\":\"{12}\"}",
            'password: str = "{12}"',
            'const apiKey: string = "{24}";',
            'let api_key: &str = "{24}";',
            "SECRET_KEY = b'{24}'",
            'TOKEN = f"{24}"',
            "password: |\n  {12}\n",
            "password:\r\n  {12}",
            "**Password:** {12}",
            "**Password**: {12}",
            "pw: {12}",
            'psk="{12}"',
        ),
        leaves=(
            "password: required",
            "password = <your-password>",
            "password = user_password2",
            "token: xxxxxxxxxxxxxxxxxxxxxxxx",
            "token = get_token(request)",
            "secret = os.environ['SECRET']",
            "api_key = ${API_KEY}",
            "api_key = process.env.API_KEY2",
            "secret: vault:secret/data/app#key1",
            "apiKey: '{{ .Values.apiKey }}'",
            "credentialsId: 'ff083f76-7804-4ef1-80e4-fe975bb9141b'",
            "accessibilityOptionId = '0736f5ef-7e88-499a-80cc-90c85d2a5180'",
            "publicKey = {32}",
            "key_fingerprint: {32}",
            "cache_key = {32}",
            "passport_no: X1234567890",
            "password = getpass2('Password: ')",
            "TOKEN_NAME = 'Curve-25519-Sha256-Signing'",
            "password: str = Field(min_length=12)",
            "apt-key adv --recv-keys {16h}",
        ),
    ),
    Context(
        "pair",  # a name and its value side by side: an environment in YAML, settings in XML or JSON
        GENERIC,
        "(?i)value",
        rf"(?i:{KEYS})[A-Za-z0-9_.-]{{0,16}}\\?[\"']?,?[ \t\r\n]{{1,16}}"
        rf"\\?[\"']?(?i:value)\\?[\"']?[ \t]?[:=][ \t]?{QUOTED}",
        RUN,
        6,
        assigned,
        finds=(
            '- name: DB_PASSWORD\n  value: "{12}"',
            '<add key="Password" value="{12}" />',
            '{"name": "API_KEY", "value": "{24}"}',
        ),
        leaves=('- name: DB_PASSWORD\n  value: "$(DB_PASSWORD2)"', 'name="password" value="required"'),
    ),
    Context(
        "cell",  # a row of a table
        GENERIC,
        r"\||<t[dh]",
        rf"(?:\|[ *`]{{0,3}}|<t[dh]>)(?i:{KEYS})[A-Za-z0-9_-]{{0,16}}"
        r"(?:[*`:]{0,3}[ \t]{0,16}\|[ *`]{0,4}|</t[dh]>\s{0,8}<t[dh]>)",
        RUN,
        6,
        assigned,
        finds=("| Password | {12} |", "| api_key | `{24}` |", "<td>Password</td><td>{12}</td>"),
        leaves=("| password | required |", "| token | `string` |", "| password_hash | varchar2(255) |"),
    ),
    Context(
        "given",
        GENERIC,
        "(?i)pass|identified by|bindpw",
        rf"(?:(?:--?[A-Za-z-]{{0,12}}(?i:passw(?:or)?d|pass)|sshpass -p|requirepass|bindpw)"
        rf"[ \t]{{1,4}}{QUOTED}"
        rf"|(?i:identified by|passwor[dt])[ \t]{{1,4}}[\"'`])",
        RUN,
        6,
        given,
        finds=(
            "mysqladmin --password {12} status",
            "sshpass -p {12} ssh x",
            "CREATE USER a IDENTIFIED BY '{12}';",
            "ALTER ROLE a PASSWORD '{12}'",
            'use the password "{12}" to log in',
            "requirepass {12}",
        ),
        leaves=("--password PASSWORD", "--password $PASS2word", "the password 'required'"),
    ),
    Context(
        "beside",  # a name with nothing but a blank or a dash: TOKEN 5us4r...
        GENERIC,
        f"(?i){KEYS}",
        rf"(?i:{KEYS})[A-Za-z_]{{0,8}}[ \t_-]{{1,2}}(?:\\?[\"'`]){{0,3}}",
        "[A-Za-z0-9_=-]",
        16,
        beside,
        finds=("SECRET {24}", "my token-{20}"),
        leaves=("the key 1234567890123456", "token authentication-middleware"),
    ),
    Context(
        "spoken",
        GENERIC,
        "(?i)pass|pw",
        # NUL stands for a letter or a dash that is not ASCII: `è`, `é`, `是`, `—`
        rf"(?i:pass(?:w|wor[dt]|phrase|code|wd)?|pw)"
        rf"(?:[ ](?i:ist?|wa[sr]|est?)(?:[ ]now)?[ ]?:?[ ]|[ ]?\x00[ ]?){QUOTED}",
        RUN,
        6,
        spoken,
        finds=(
            "my password is hunter2",
            "The passphrase was: {10}",
            "la password \u00e8 {10}",
            "\u5bc6\u7801\u662f{10}",
            "mot de passe : {10}",
            "Contrase\u00f1a: {10}",
        ),
        leaves=(
            "the password is required",
            "the password is base64-encoded",
            "a password is 256-bit or more",
        ),
    ),
    Context(
        "told",
        GENERIC,
        "(?i)key|token|secret",
        rf"(?i:(?:api|secret|access)[ _-]?key|token|secret)[ ](?:is|was)[ ]?:?[ ]{QUOTED}",
        BASE64,
        16,
        header,
        finds=("The API key is {24}.", "your token is: {32}", "my aws secret is {40}"),
        leaves=(
            "our secret is safe-with-us-forever-2024",
            "the token is authentication-middleware",
            "the api key is required-for-everything",
        ),
    ),
    Context(
        "url",
        "URL_PASSWORD",
        "://",
        r"[a-z][a-z0-9+.-]{1,16}://[^\s:/\"'<>]{0,40}:",
        r"[^\s/\"'<>]",
        4,
        password,
        ends_at="@",
        finds=(
            "postgres://app:{10}@db.internal:5432/x",
            "mongodb+srv://app:{12}@cluster0.example.net",
            "redis://:{12}@cache:6379/0",
            "https://ci:{16}@git.example.org/a.git",
            "amqp://app:p@ssw0rd@mq:5672",
            "mysql://app@corp:{12}@db:3306/x",
        ),
        leaves=(
            "https://example.org:8080/path@version",
            "postgres://user:password@localhost/db",
            "postgres://postgres:postgres@localhost/db",
            "https://user:${TOKEN}@example.org",
            "https://user:<password>@example.org",
        ),
    ),
    Context(
        "bearer",
        "BEARER_TOKEN",
        "(?i)bearer|authorization",
        r"(?i:bearer|authorization[\"']?[:=][ \t]{0,4}[\"']?(?:token)?)[ \t]{1,4}",
        "[A-Za-z0-9._~+/=-]",
        16,
        header,
        finds=("Authorization: Bearer {20}", "authorization: token {40}"),
        leaves=(
            "Authorization: Bearer $(gcloud auth print-access-token)",
            "Bearer authentication-is-required",
        ),
    ),
    Context(
        "basic",
        "BEARER_TOKEN",
        "(?i)basic",
        r"(?i:basic)[ \t]{1,4}",
        BASE64,
        8,
        credentials,
        finds=("Authorization: Basic YXBwOmh1" + "bnRlcjI=",),
        leaves=("Basic authentication", "basic programming4"),
    ),
    Context(
        "auth",  # .npmrc, Docker's config.json
        GENERIC,
        '(?i)_auth|auth"',
        rf"(?:_auth|\"auth\")[ \t]{{0,4}}[:=][ \t]{{0,4}}{QUOTED}",
        BASE64,
        8,
        credentials,
        finds=('"auth": "YXBwOmh1' + 'bnRlcjI="', "_auth=YXBwOmh1" + "bnRlcjI="),
        leaves=('"auth": "required"', "_auth = 'middleware'"),
    ),
    Context(
        "user",
        "URL_PASSWORD",
        "-u|--user",
        r"(?:-u|--user)[ \t=]{0,2}[\"']?[A-Za-z0-9_.@-]{1,40}:",
        r"[^\s\"':$]",
        4,
        option,
        finds=("curl -u admin:{8} https://x.example", "curl --user 'app:{10}'"),
        leaves=(
            "lib-util:amd64 1.15",
            "curl -u 'test:test'",
            'curl -u "$USER:$PASS"',
            "docker run -u 1000:1000 image",
        ),
    ),
    Context(
        "netrc",
        GENERIC,
        "(?i)password",
        r"(?i:login|user)[ \t\n]{1,4}[^\s]{1,40}[ \t\n]{1,4}(?i:password)[ \t]{1,4}",
        r"[^\s\"']",
        6,
        password,
        finds=("machine api.example.org\n  login app\n  password {12}",),
        leaves=("your login name or password is wrong",),
    ),
)
CONTEXTS: tuple[Context, ...] = (*_NEAR, *DISTANT)


class _Compiled:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.head = re2.compile(context.head, options())
        self.run = re.compile(f"{context.value}*+".encode())

    def matches(self, text: str, named: str, data: bytes) -> Iterator[Match]:
        """The secrets in `text`; `named` is the text with all names in English, `data` its bytes."""
        position, begun, runs = 0, -1, Runs(self.run)
        while found := self.head.search(data, position):
            name, start = found.span()
            position = name + 1
            if start == begun:  # the same value, with less of its name
                continue
            begun = start
            match = self._enclosed(text, named, name, start) or self._bare(
                text, named, data, name, start, runs
            )
            if match:
                yield match

    def _enclosed(self, text: str, named: str, name: int, start: int) -> Match | None:
        """A value in quotes or in a tag, whatever is in it."""
        if self.context.ends_at:
            return None
        end = end_of(text, text[name:start], start, SPAN - (start - name))
        if end is None:
            return None
        value = self._value(text, named, name, start, end)
        value.enclosed, value.behind = True, text[end : end + 1]
        return self._match(text, start, end, value, is_open=end == len(text))

    def _bare(self, text: str, named: str, data: bytes, name: int, start: int, runs: Runs) -> Match | None:
        """A value as long as its run of characters."""
        end = runs.end(data, start)
        is_open = end == len(text)
        if self.context.ends_at:
            end, is_open = self._end(data, start, end), False
        elif not is_open and text[end] in ";," and begins_password(named[name:start], text[start:end]):
            end = joined(text, end, name + SPAN)
            is_open = end == len(text)
        if end - start < self.context.least:
            return None
        value = self._value(text, named, name, start, end)
        is_open = is_open and not value.has_parameter
        if not is_open:
            value.behind = text[end : end + 1] if end <= start + len(value.text) else ""
            length = value.shorten(end - start)
            end = start + length - behind(text, start, start + length, MARKS)
        return self._match(text, start, end, value, is_open)

    def _value(self, text: str, named: str, name: int, start: int, end: int) -> Value:
        judged = start + min(JUDGED, SPAN - (start - name))
        before = named[max(0, name - BEFORE, start - SPAN) : name]
        return Value(text[start : min(end, judged)], named[name:start], before)

    def _match(self, text: str, start: int, end: int, value: Value, is_open: bool) -> Match | None:
        score = self.context.judge(value) if end - start >= self.context.least else 0
        if not score or not (is_open or not _is_known(text, start, end)):
            return None
        return Match(start, end, self.context.category, score, validated=score == 1.0, open=is_open)

    def _end(self, data: bytes, start: int, end: int) -> int:
        """The last `ends_at` with a name or an address behind it, within 64 characters."""
        piece = data[start : min(end + 1, start + 66)]
        for found in reversed(list(_AT.finditer(piece))):
            return start + found.start()
        return start


_AT = re.compile(rb"@(?=[A-Za-z0-9\[])")


def _is_known(text: str, start: int, end: int) -> bool:
    """Whether a rule for a provider's keys reports this same range, and tells more of it."""
    if end - start > KNOWN:
        return False
    first = max(0, start - 2)
    around = known_keys().matches(text[first : end + 2])
    return any((match.start + first, match.end + first) == (start, end) for match in around)


class Contexts(Detector):
    """Assignments, URLs and headers."""

    name = "contexts"
    reach = 112
    inline_below = 40_000

    def load(self) -> None:
        """Compile the patterns."""
        known_keys()
        self._contexts = [_Compiled(context) for context in CONTEXTS]
        self._keywords: Any = re2.Set.SearchSet(options())
        for context in CONTEXTS:
            self._keywords.Add(context.keyword)
        self._keywords.Compile()

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The secrets in each text."""
        return [self._matches(text) for text in texts]

    def _matches(self, text: str) -> list[Match]:
        named = in_english(text)
        data = single_bytes(named)
        hits = self._keywords.Match(data) or ()
        found = [m for i in hits for m in self._contexts[i].matches(text, named, data)]
        told = {(m.start, m.end) for m in found if m.category != GENERIC}
        return [m for m in dict.fromkeys(found) if m.category != GENERIC or (m.start, m.end) not in told]
