"""The guard `secrets`: every rule's own examples, what is no secret, linear time, and locality."""

import re

import pytest

from guardproxy import Match
from guardproxy.testing.locality import check_locality
from guardproxy_secrets import Contexts, PrivateKeys, Tokens
from guardproxy_secrets.context import CONTEXTS
from guardproxy_secrets.foreign import in_english
from guardproxy_secrets.rule import Rule
from guardproxy_secrets.rules import RULES
from guardproxy_secrets.surroundings import Context
from guardproxy_secrets.tokens import Runs
from tests.plugins.secret_examples import by_chance, coded, example, filled, name

DETECTORS = (Tokens(), Contexts(), PrivateKeys())
for _detector in DETECTORS:
    _detector.load()


def scan(text: str) -> list[Match]:
    return [match for detector in DETECTORS for match in detector.scan([text])[0]]


def found(text: str) -> list[tuple[str, str]]:
    return sorted((match.category, text[match.start : match.end]) for match in scan(text))


def tokens_in(text: str) -> list[Match]:
    return DETECTORS[0].scan([text])[0]


def test_every_rule_has_a_name_of_its_own_and_a_provider() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.provider and re.fullmatch("[A-Z][A-Z0-9_]+", rule.category) for rule in RULES)
    assert len({context.id for context in CONTEXTS}) == len(CONTEXTS)


@pytest.mark.parametrize("rule", RULES, ids=name)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "key is {} today",
        '"{}"',
        "KEY={}\n",
        "{{'k': '{}'}}",
        "see {}.",
        "line\\n{}\\nline",
        "({})",
        "密钥是{}。",
        "clé{}é",
    ],
)
def test_every_rule_finds_its_example(rule: Rule, around: str) -> None:
    text = around.format(example(rule))
    start = text.index(example(rule))
    end = start + len(example(rule))
    matches = [m for m in tokens_in(text) if m.category == rule.category and m.validated]
    covered = {i for m in matches for i in range(m.start, m.end)}
    assert covered >= set(range(start, end)), text
    assert max(m.score for m in matches) == 1.0


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_every_occurrence_is_found(rule: Rule) -> None:
    key = example(rule)
    matches = [m for m in tokens_in(f"{key} and {key}\n{key}") if m.category == rule.category]
    assert {m.start for m in matches} >= {0, len(key) + 5, 2 * len(key) + 6}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.entropy], ids=name)
def test_placeholders_are_no_keys(rule: Rule) -> None:
    length = rule.most if rule.most is not None else rule.least + 7
    letter = next(c for c in "xX0aA2" if re.match(rule.alphabet, c))
    assert [m.category for m in tokens_in(filled(rule.sample) + letter * length)] == []


@pytest.mark.parametrize("rule", [r for r in RULES if r.most and r.entropy and r.most > 8], ids=name)
def test_a_longer_run_is_another_thing(rule: Rule) -> None:
    text = example(rule) + by_chance(rule.alphabet, 9, 3)
    assert rule.category not in {m.category for m in tokens_in(text) if m.start == 0}


@pytest.mark.parametrize(
    "text", [pytest.param(filled(text), id=f"{rule.id}-{text}") for rule in RULES for text in rule.unlike]
)
def test_what_a_rule_says_is_unlike_it(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("rule", [r for r in RULES if not filled(r.sample)[0].isalnum()], ids=name)
def test_a_key_that_begins_with_a_mark_may_follow_a_word(rule: Rule) -> None:
    text = f"name{example(rule)}"
    if not filled(rule.sample).startswith("_"):
        assert rule.category in {m.category for m in tokens_in(text)}


@pytest.mark.parametrize(
    "key",
    [
        "sk-" + "service-team{20}T3BlbkFJ{20}".replace("team", "team-"),
        "ghs_" + "{6d}_eyJ{60}.{60}.{40}",
        "xo" + "xc-{11d}-{12d}-{13d}-{64h}",
        "xo" + "xd-{40}%2F{40}%3D",
        "https://contoso.webhook.office.com/webhookb2/{32h}@{32h}/IncomingWebhook/{32h}/{32h}",
        "https://a.blob.core.windows.net/c?sv=2022-11-02&ss=b&sig={43}%3D",
        "bob:$2" + "y$05${53}",
    ],
)
def test_forms_of_keys_that_differ_from_their_rules_examples(key: str) -> None:
    text = f"see {filled(key)} there"
    assert [m.validated for m in tokens_in(text)] == [True]


@pytest.mark.parametrize(
    "text",
    ["re_compile_pattern_with_long_name_v2_final", "return re_sub_all_of_the_text_v2_and_more_2"],
)
def test_names_of_functions_are_no_keys(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("пароль: {}", "Tr0ub4dor-x9Kq"),
        ("パスワード: {}", "Tr0ub4dor-x9Kq"),
        ("密码是{}。", "Tr0ub4dor-x9Kq"),
        ("비밀번호: {}", "Tr0ub4dor-x9Kq"),
        ("la senha é {}", "Tr0ub4dor-x9Kq"),
        ("SENHA={}", "Tr0ub4dor-x9Kq"),
        ("password \u2014 {}", "Tr0ub4dor-x9Kq"),
    ],
)
def test_passwords_in_other_languages(text: str, value: str) -> None:
    assert found(text.format(value)) == [("GENERIC_SECRET", value)]


def test_names_in_english_are_as_long_as_they_were() -> None:
    for text in ("mot de passe", "CONTRASE\u00d1A", "l\u00f6senord", "\u0130 senha", "\u5bc6\u7801 hasło"):
        assert len(in_english(text)) == len(text)


CASES = [(context, text) for context in CONTEXTS for text in context.finds]


@pytest.mark.parametrize(("context", "text"), CASES, ids=[f"{c.id}-{t}" for c, t in CASES])
@pytest.mark.parametrize("around", ["{}", "see: {}\n", "a line\n{}\nanother line", "é {} ü"])
def test_every_context_finds_its_examples(context: Context, text: str, around: str) -> None:
    text = around.replace("{}", filled(text))
    matches = [m for m in DETECTORS[1].scan([text])[0] if m.category == context.category]
    assert matches, text
    assert not any(c.isspace() for m in matches for c in text[m.start : m.end])


LEFT = [(context.id, text) for context in CONTEXTS for text in context.leaves]


@pytest.mark.parametrize(("id_", "text"), LEFT, ids=[f"{c}-{t}" for c, t in LEFT])
@pytest.mark.parametrize("around", ["{}\n", "see: {} \n"])
def test_every_context_leaves_what_is_no_secret(id_: str, text: str, around: str) -> None:
    assert found(around.replace("{}", filled(text))) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password = 'Tr0ub4dor&3x'", [("GENERIC_SECRET", "Tr0ub4dor&3x")]),
        ("password=hunter2", [("GENERIC_SECRET", "hunter2")]),
        ("?user=a&password=hunter2&ssl=true", [("GENERIC_SECRET", "hunter2")]),
        ("Server=db;Password=Zx81kk-q;Encrypt=True", [("GENERIC_SECRET", "Zx81kk-q")]),
        ("postgres://app:" + "s3cr3tPw" + "@db.internal:5432/x", [("URL_PASSWORD", "s3cr3tPw")]),
        ("postgres://app:" + "s3@cr3tPw" + "@db.internal:5432/x", [("URL_PASSWORD", "s3@cr3tPw")]),
        ("Authorization: Bearer " + "q8Zk3Lw9" + "Xn2Vb7Tc4Ry6", [("BEARER_TOKEN", "q8Zk3Lw9Xn2Vb7Tc4Ry6")]),
        ("Authorization: Basic " + coded("app:hunter2"), [("BEARER_TOKEN", coded("app:hunter2"))]),
        ("curl -u admin:" + "Zx81kk-q" + " https://x.example", [("URL_PASSWORD", "Zx81kk-q")]),
        ("Authorization: token " + "q8Zk3Lw9" + "Xn2Vb7Tc4", [("BEARER_TOKEN", "q8Zk3Lw9Xn2Vb7Tc4")]),
        ("Passwort: geheim123\n", [("GENERIC_SECRET", "geheim123")]),
        ("my password is hunter2. I think", [("GENERIC_SECRET", "hunter2")]),
        ("my password is hunter2!", [("GENERIC_SECRET", "hunter2!")]),
        ("PASSWORD S3cr3t!x", [("GENERIC_SECRET", "S3cr3t!x")]),
        ("username admin and password P@ssw0rd. So", [("GENERIC_SECRET", "P@ssw0rd")]),
        ("user admin pass Winter2024!", [("GENERIC_SECRET", "Winter2024!")]),
        ("The password for the vpn is Tr0ub4dor&3", [("GENERIC_SECRET", "Tr0ub4dor&3")]),
        ("Password for bob: Xk29!fjq77", [("GENERIC_SECRET", "Xk29!fjq77")]),
        ("mysql -u root -pS3cr3tx99 -h db", [("GENERIC_SECRET", "S3cr3tx99")]),
        ("mysql -u root -p'S3cr3t x99'", [("GENERIC_SECRET", "S3cr3t x99")]),
        ("docker login -u me -p 'S3cr3t!x9'", [("GENERIC_SECRET", "S3cr3t!x9")]),
        ("password: Password1", [("GENERIC_SECRET", "Password1")]),
        ('login("bob", password="change' + 'me1")', [("GENERIC_SECRET", "change" + "me1")]),
        ("password=Ab3;xY7kLm", [("GENERIC_SECRET", "Ab3;xY7kLm")]),
        ("password=Ab3;xY7kLm;Encrypt=True", [("GENERIC_SECRET", "Ab3;xY7kLm")]),
        ("password=b1c2d3e4,region=eu-1", [("GENERIC_SECRET", "b1c2d3e4")]),
    ],
)
def test_surroundings(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


def test_what_a_provider_names_is_not_reported_as_generic_too() -> None:
    key = "AK" + "IAQX3T7ZP2LM5NV4RD"
    assert found(f'aws_access_key_id = "{key}"\n') == [("AWS_ACCESS_KEY", key)]
    longer = f"{key}/{by_chance('[A-Za-z0-9]', 20, 1)}"
    assert ("GENERIC_SECRET", longer) in found(f'secret_key = "{longer}"\n')


# A token without rights that expired in 2021, published to show how the checksum is made.
GITHUB = "ghp_" + "zQWBuTSOoRi4A9spHcVY" + "5ncnsDkxkJ" + "0mLq17"


def test_a_wrong_checksum_lowers_the_score_of_a_token() -> None:
    (right,) = tokens_in(GITHUB)
    (wrong,) = tokens_in(GITHUB[:-1] + "8")
    assert (right.score, right.validated) == (1.0, True)
    assert (wrong.score, wrong.validated) == (0.7, True)


@pytest.mark.parametrize(
    ("header", "validated"),
    [
        ('{"alg":"HS256","typ":"JWT"}', True),
        ('{"alg":"RS256","kid":"' + "a1B2-" * 20 + '"}', True),
        ('{"alg":"HS256",,}', False),
        ('{"alg":"\x81\x82\x83\x84', False),
    ],
)
def test_a_web_token_is_validated_where_its_header_decodes(header: str, validated: bool) -> None:
    text = f"{coded(header)}.{by_chance('[A-Za-z0-9]', 40, 1)}"
    assert [m.validated for m in tokens_in(text)] == [validated]


def test_published_examples_are_no_secrets() -> None:
    key = "AI" + "zaSyDSb51JiIcB6OJ" + "pwwMicseKRhhrOq1cS7g"
    assert found(f"api_key: '{key}'\n") == []
    assert found(f"{key[:-1]}h") == [("GOOGLE_API_KEY", f"{key[:-1]}h")]


@pytest.mark.parametrize(
    "text",
    [
        "The password must be changed every month.",
        "secret_length = X25519.secret_length",
        '"integrity": "sha512-oRQ2Vq9k3Lw9Xn2Vb7Tc4Ry6oRQ2Vq9k3Lw9Xn2Vb7Tc4Ry6=="',
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "etag: 3f786850e387550fdab836ed7e6dc881de23001b",
        "id: 123e4567-e89b-12d3-a456-426614174000",
        "const primaryKey = 'user_account_id_2';",
        "from cryptography import Ed25519PrivateKey, Ed25519PublicKey, X448PrivateKey",
        "-----BEGIN PRIVATE KEY----- is how such a file begins; there is more to say about this format.",
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert [(m.category, text[m.start : m.end]) for m in scan(text) if not m.open] == []


@pytest.mark.parametrize("pattern", [*(r.prefix for r in RULES), *(c.head for c in CONTEXTS)])
def test_no_pattern_reads_without_an_end(pattern: str) -> None:
    bare = re.sub(r"\[(?:\\.|[^\]])*\]|\\.", "", pattern)
    assert not re.search(r"[*+]|\{\d*,\}", bare), bare


@pytest.mark.parametrize("start", ["base64-", "md5", "aB", "", "user", "a.", "sk-proj-"])
@pytest.mark.parametrize("piece", ["a", "A", "aB", "1", "a1", "Aaa", "a-", "a.", "_", "a_1", "Aaa9"])
def test_no_value_makes_a_pattern_go_back_for_ever(start: str, piece: str) -> None:
    for before in ("password is ", "password = '", "api_token = '", "x://user:", "TOKEN "):
        for end in ("!\n", "(9\n", "\u00e9\n", "@h\n"):
            scan(f"{before}{start}{piece * 64}{end}")


def test_a_run_is_read_once_however_many_keys_begin_in_it() -> None:
    class Counting:
        reads = 0

        def match(self, data: bytes, position: int) -> "re.Match[bytes] | None":
            self.reads += 1
            return re.compile(b"[a-z]*").match(data, position)

    counting = Counting()
    runs = Runs(counting)  # type: ignore[arg-type]
    data = b"a" * 1000 + b" " + b"b" * 1000
    assert {runs.end(data, i) for i in range(1001)} == {1000}
    assert {runs.end(data, i) for i in range(1001, 2001)} == {2001}
    assert counting.reads == 2


def pem(lines: int = 6, kind: str = "") -> str:
    word = "PRIVATE" + " KEY"
    inside = "\n".join(by_chance("[A-Za-z0-9+/]", 64, line) for line in range(lines))
    return f"-----BEGIN {kind}{word}-----\n{inside}\n-----END {kind}{word}-----"


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
@pytest.mark.parametrize("around", ["{}", "here: {} and more", '{{"key": "{}"}}', "> {}"])
def test_private_keys(kind: str, around: str) -> None:
    text = around.format(pem(kind=kind))
    if "{" in around[0:2] and around != "{}":
        text = text.replace("\n", "\\n")
    (match,) = DETECTORS[2].scan([text])[0]
    assert text[match.start : match.end].startswith("-----BEGIN")
    assert text[match.start : match.end].endswith("-----")
    assert not match.open


@pytest.mark.parametrize("unit", ["-sk-" + "proj-{}", "?key={}"])
@pytest.mark.parametrize("marks", ["", "...", ". " + "x" * 70])
def test_keys_in_one_run_of_characters_end_where_it_does(unit: str, marks: str) -> None:
    keys = "".join(unit.format(by_chance("[A-Za-z0-9]", 41, seed)) for seed in range(40))
    text = f"x {keys}{marks} y"
    found = scan(text)
    assert len(found) >= 20  # one judged by its looks alone may be none
    assert {match.end for match in found} == {2 + len(keys)}


def test_prose_behind_a_private_key_that_was_cut_is_none_of_it() -> None:
    text = pem()[:200] + "\n\nI hope that helps. Please tell me, if there is more to do: I am here."
    (match,) = DETECTORS[2].scan([text])[0]
    assert text[match.end :].startswith(" hope that helps")


def test_an_unfinished_private_key_is_open_up_to_its_end() -> None:
    text = "x " + pem()
    for end in range(text.index("KEY-----") + 8, len(text)):
        (match,) = DETECTORS[2].scan([text[:end]])[0]
        assert (match.start, match.end, match.open) == (2, end, True)


def putty(new_line: str = "\n") -> str:
    lines = [by_chance("[A-Za-z0-9+/]", 64, line) for line in range(3)]
    file = [
        "PuTTY-User-Key-File-3: ssh-ed25519",
        "Encryption: none",
        "Private-Lines: 3",
        *lines,
        "Private-MAC: 1",
    ]
    return new_line.join(file)


@pytest.mark.parametrize("new_line", ["\n", "\r\n", "\\n", "\\r\\n"])
def test_private_keys_of_putty(new_line: str) -> None:
    text = putty(new_line)
    (match,) = DETECTORS[2].scan([text])[0]
    assert text[match.start : match.end].startswith("Private-Lines: 3")
    assert text[match.end :] == new_line + "Private-MAC: 1"
    for end in range(match.start + 16, match.end):
        assert [m.end for m in DETECTORS[2].scan([text[:end]])[0]] == [end]


EXAMPLES = [
    *(example(rule) for rule in RULES),
    *(f"{example(rule)}." for rule in RULES[::5]),
    *(filled(text) for context in CONTEXTS for text in (*context.finds, *context.leaves)),
    pem(2),
    pem(1)[:60],
    putty(),
]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: str(detector.name))
def test_detectors_are_local(detector: Tokens) -> None:
    check_locality(detector, EXAMPLES, max_examples=400)


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ('password = "p@ssw;0rdx9"', "p@ssw;0rdx9"),
        ('password = "p@ss,w0rdx9"', "p@ss,w0rdx9"),
        ('password = "p@ss w0rd x9!"', "p@ss w0rd x9!"),
        ('password = "(p4ssw0rd)x"', "(p4ssw0rd)x"),
        ('password = "a\\"p4ssw0rd;x"', 'a\\"p4ssw0rd;x'),
        ("DB_PASSWORD='Ab3$xY 7kLm9'", "Ab3$xY 7kLm9"),
        ('password: "p@ssw0rd9!"', "p@ssw0rd9!"),
        ("<password>Tr0ub4dor&amp;3x9</password>", "Tr0ub4dor&amp;3x9"),
        ('{\\"password\\": \\"Ab;c9d,Ef12\\"}', "Ab;c9d,Ef12"),
    ],
)
def test_a_password_in_quotes_or_a_tag_goes_to_what_closes_it(text: str, password: str) -> None:
    assert found(text) == [("GENERIC_SECRET", password)]


@pytest.mark.parametrize(
    "text",
    [
        'password="use 8 characters or more"',
        '"password": "Enter your password (8+ chars)"',
        'password: "{{ vault_password }}"',
        'password = "<your password here>"',
        'password = "%s and 1 more"',
        'password = "it\'s a dog"',
        '"password": "Passwort 2"',
        'password = "^(?=.*[A-Z])(?=.*\\d)[A-Za-z\\d]{8,}$"',
        'password: "[GENERIC_SECRET]"',
        'password = ""  # 8 or more; a1b2',
        "<password>enter 8 characters</password>",
        'next_page_token = "Cg0KCxIJL2VuL2ZvbzEwEAoYAQ"',
        'tokenizer: "cl100k_base"',
        'def login(user, password="change' + 'me1"):',
        'function login(user, password = "change' + 'me1") {',
        'password = "password1"',
        "password = Password1",
        '"password": "Passwort*"',
        "password: required!",
        "pass=0;i++",
        "user=a;password=null;x1",
        "password: string",
        'password = os.environ["X"]',
        "token = next(tokens)",
    ],
)
def test_what_stands_in_quotes_beside_the_word_password(text: str) -> None:
    assert found(f"{text}\n") == []
