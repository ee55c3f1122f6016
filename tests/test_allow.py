"""Allow-lists: what is on them is let be, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.allow import AllowList


@pytest.mark.parametrize(
    ("entry", "text", "allowed"),
    [
        ("support@ours.example", "support@ours.example", True),
        ("support@ours.example", "Support@Ours.Example", True),
        ("support@ours.example", "xsupport@ours.example", False),
        ("support@ours.example", "support@ours.example.evil.example", False),
        ("ours.example", "ours.example", True),
        ("ours.example", "ada@ours.example", True),
        ("ours.example", "ada@mail.ours.example", True),
        ("ours.example", "www.ours.example", True),
        ("ours.example", "ada@evilours.example", False),
        ("ours.example", "ada@ours.example.evil", False),
        ("ours.example", "ours.example@evil.example", False),
        ("ours.example", "o'neill+x@mail.ours.example", True),
        ("ours.example", "https://ada:hunter2@ours.example", False),
        ("ours.example", "postgres://ada:hunter2@db.ours.example", False),
        ("ours.example", "the password is hunter2 @ours.example", False),
        ("ours.example", "the password is hunter2.ours.example", False),
        ("ours.example", "eve@evil.example@ours.example", False),
        ("ours.example", "https://evil.example/?to=www.ours.example", False),
        ("ours.example", ".ours.example", False),
        ("strasse.example", "ada@stra\u00dfe.example", False),
        ("ada@strasse.example", "ada@stra\u00dfe.example", False),
        ("4111 1111 1111 1111", "4111-1111-1111-1111", True),
        ("4111111111111111", "4111 1111 1111 1111", True),
        ("4111111111111111", "4111 1111 1111 1112", False),
        ("192.168.0.1", "192.168.0.1", True),
        ("192.168.0.1", "192.16.80.1", False),
        ("Ada Lovelace", "ada lovelace", True),
        ("Ada Lovelace", "adalovelace", False),
        ("re:[a-z]+@ours[.]example", "ada@ours.example", True),
        ("re:[a-z]+@ours[.]example", "ada@ours.example.evil", False),
        ("re:ada", "ada@ours.example", False),
        ("re:(?i)ada", "ADA", True),
    ],
)
def test_what_an_entry_allows(entry: str, text: str, allowed: bool) -> None:
    assert AllowList([entry]).allows(text) is allowed
    assert AllowList(["something else", entry]).allows(text) is allowed


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["a", " "], "the 2nd is empty. Write a value"),
        (["re:("], "the 1st is no pattern of google-re2: missing"),
        (["re:(SECRET"], r"the 1st is no pattern of google-re2: missing \)\.$"),
        (["re:(?=a)"], "the 1st is no pattern of google-re2: invalid perl operator"),
        (["a", "b", "re:[z-a]"], "the 3rd is no pattern of google-re2: invalid character class range"),
    ],
)
def test_a_wrong_entry_is_named_by_its_number(entries: list[str], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(").replace("?", r"\?")):
        AllowList(entries)


@given(st.text(min_size=1))
def test_a_value_allows_itself(entry: str) -> None:
    if entry.strip() and not entry.startswith("re:"):
        assert AllowList([entry]).allows(entry)


@given(st.lists(st.sampled_from(["a", "ours", "xours", "example", "x-example", "@"]), min_size=1, max_size=6))
def test_a_domain_allows_what_ends_with_its_labels(words: list[str]) -> None:
    text = ".".join(words).replace(".@.", "@").replace("@.", "@").replace(".@", "@")
    host = text.rpartition("@")[2]
    is_name = text.count("@") <= 1 and not text.startswith(("@", "."))
    assert AllowList(["ours.example"]).allows(text) is (is_name and f".{host}".endswith(".ours.example"))
