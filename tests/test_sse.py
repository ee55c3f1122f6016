"""Server-sent events in any pieces."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.sse import DONE, Decoder, Frame, frame

STREAM = (
    b'\xef\xbb\xbfevent: a\ndata: {"x":1}\n\n: comment\n\ndata: one\r\ndata: two\r\n\r\nid: 7\ndata:three\r\r'
    b"event: \xc3\xa9\ndata: \xf0\x9f\x98\x80\n\ndata: [DONE]\n\n"
)


def decode(pieces: list[bytes]) -> list[Frame]:
    decoder = Decoder()
    found = [f for piece in pieces for f in decoder.feed(piece)]
    last = decoder.close()
    return [*found, last] if last else found


def test_fields() -> None:
    frames = decode([STREAM])
    assert [(f.event, f.data) for f in frames] == [
        (b"a", b'{"x":1}'),
        (b"", b""),
        (b"", b"one\ntwo"),
        (b"", b"three"),
        ("é".encode(), "😀".encode()),
        (b"", b"[DONE]"),
    ]
    assert frames[-1].done
    assert b"".join(f.raw for f in frames) == STREAM[3:]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert decode([STREAM[a:b] for a, b in itertools.pairwise(edges)]) == decode([STREAM])


def test_an_event_without_its_end_is_given_at_the_end() -> None:
    assert decode([b"data: a\n\ndata: b"]) == [Frame(b"data: a\n\n", b"a"), Frame(b"data: b\n\n", b"b")]


def test_an_endless_event_is_refused() -> None:
    decoder = Decoder()
    assert decoder.feed(b"x" * (16 << 20)) == []
    with pytest.raises(ValueError, match="larger than 16 MiB"):
        decoder.feed(b"x")


def test_frames_of_ours() -> None:
    assert frame(b"{}", "error").raw == b"event: error\ndata: {}\n\n"
    assert DONE.done
    assert Frame(b"", b"", b"e").with_data(b"a\nb").raw == b"event: e\ndata: a\ndata: b\n\n"


@pytest.mark.parametrize(
    ("raw", "kind", "plain"),
    [
        (b"event: k\ndata: {}\n\n", "k", b"event: k\ndata: {}\n\n"),
        (b"data:{}\r\n\r\n", "k", b"data:{}\r\n\r\n"),
        (b": my secret\ndata: {}\n\n", "k", b"data: {}\n\n"),
        (b"id: secret\nevent: k\ndata: {}\n\n", "k", b"event: k\ndata: {}\n\n"),
        (b"event: a secret\ndata: {}\n\n", "k", b"event: k\ndata: {}\n\n"),
        (b"event: a secret\ndata: {}\n\n", "not a name", b"data: {}\n\n"),
        (b"event:\ndata: {}\n\n", "k\ndata: {}", b"event:\ndata: {}\n\n"),
    ],
)
def test_nothing_but_data_and_a_known_name_leaves(raw: bytes, kind: str, plain: bytes) -> None:
    (found,) = decode([raw])
    assert found.plain(kind) == plain
