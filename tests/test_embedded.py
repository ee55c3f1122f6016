"""Files in strings are read however they are spelled, and what is put in them is what is read there."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.embedded import is_data_url, of_base64, of_url, pieces_of, rewritten, unescaped

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)
HEADS = st.sampled_from(
    ["data:text/plain;base64,", "data:;base64,", " DATA:a/b;n=x; base64 ,", "d\ta\nta:image/png;ba\tse64,"]
)


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@given(TEXTS, st.text(st.characters(codec="utf-8", exclude_characters="%"), max_size=4), st.integers(0, 99))
def test_characters_that_lenient_readers_ignore_hide_nothing(text: str, noise: str, at: int) -> None:
    noise = "".join(c for c in noise if not (c.isascii() and (c.isalnum() or c in "+/-_=")))
    value = packed(text).rstrip("=")
    found = of_base64(value[:at] + noise + value[at:])
    assert found.inside == text
    assert found.stands == bool("".join(noise.split()))


@given(TEXTS, HEADS, st.booleans())
def test_data_urls(text: str, head: str, escaped: bool) -> None:
    value = head + ("".join(f"%{ord(c):02x}" for c in packed(text)) if escaped else packed(text))
    assert is_data_url(value)
    found = of_url(value)
    assert (found.inside, found.stands, found.head) == (text, False, head[:-1])


@given(st.text() | HEADS.flatmap(lambda head: st.text().map(head.__add__)), TEXTS, st.none() | st.text())
def test_what_is_put_in_is_what_is_read(old: str, new: str, told: str | None) -> None:
    again = rewritten(old, new, told)
    assert (of_url(again) if is_data_url(old) else of_base64(again)).inside == new
    assert is_data_url(again) == is_data_url(old)


@given(st.text(), st.none() | st.text())
def test_of_a_text_that_stands_nothing_stays_but_the_data(told: str, data: str | None) -> None:
    url = "data:text/plain;name=TAG;base64,AAAA"
    assert "TAG" not in rewritten(url, data, told.replace("TAG", "")).partition(",")[0]


@given(st.text(st.sampled_from('a"\\u0041n')))
def test_the_pieces_are_the_whole(value: str) -> None:
    assert "".join(pieces_of(value)) == value


def test_escapes_are_undone_as_far_as_they_are_some() -> None:
    assert unescaped(r"\u0041\n\q\ud83d\ude00\ud800") == "A\n\\q😀\ud800"
