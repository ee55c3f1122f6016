"""Content encodings, within a limit."""

import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.encodings import Decoder, decoded
from guardproxy.errors import UnsupportedMedia


def undo(data: bytes, encoding: str, limit: int = 1000) -> bytes:
    return decoded(data, encoding, limit, UnsupportedMedia, "The body")


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("GZIP ", gzip.compress),
        ("deflate", zlib.compress),
    ],
)
def test_known_encodings(encoding: str, pack: object) -> None:
    assert undo(pack(b"hello"), encoding) == b"hello"  # type: ignore[operator]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_pieces_do_not_matter(data: bytes, cuts: list[int]) -> None:
    packed = gzip.compress(data)
    decoder = Decoder("gzip", 1000, UnsupportedMedia, "The body")
    edges = [0, *sorted(min(c, len(packed)) for c in cuts), len(packed)]
    out = b"".join(decoder.feed(packed[a:b]) for a, b in itertools.pairwise(edges))
    decoder.end()
    assert out == data


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"x", "br", "cannot be inspected; use gzip, deflate or none"),
        (b"x", "gzip, gzip", "cannot be inspected"),
        (b"no gzip", "gzip", "not in the content encoding"),
        (gzip.compress(b"hello", mtime=0)[:-9], "gzip", "incomplete"),
        (gzip.compress(b"hello", mtime=0) + b"more", "gzip", "goes on after the end"),
        (gzip.compress(b"x" * 10_000_000), "gzip", "larger than 1000 bytes"),
    ],
)
def test_what_cannot_be_decoded_is_refused(data: bytes, encoding: str, message: str) -> None:
    with pytest.raises(UnsupportedMedia, match=message):
        undo(data, encoding)
