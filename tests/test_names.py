"""The names that redacted keys get."""

from guardproxy.names import Key, Names
from guardproxy.redaction import Placeholder
from guardproxy.types import Match


def test_a_key_is_shown_with_what_was_found_redacted() -> None:
    key = Key("ask ada now", {Match(4, 7, "NAME"), Match(4, 6, "OTHER")})
    assert key.shown(Placeholder("[{category}]")) == "ask [NAME] now"


def test_no_key_gets_the_name_of_another() -> None:
    names = Names({"[A]", "[A]_2", "b"})
    assert names.suffix({"[A]"}) == "_3"
    assert names.suffix({"[A]"}) == "_4"
    assert names.suffix({"c", "[A]"}) == "_5"
    assert names.suffix({"d"}) == ""
    assert names.suffix({"d"}) == "_2"
