"""`guardproxy scan`: files and standard input, places in them, exit codes, and what is never printed."""

import importlib.metadata
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from guardproxy import cli, logs, plugins, scan
from guardproxy.scan import Lines, Unreadable, decoded, offsets_of
from guardproxy.scan_report import Region
from guardproxy.scanning import UNLIMITED
from guardproxy.settings import SETTINGS
from guardproxy.types import Guard, Stage
from tests.harness import SampleGuards
from tests.samples import Tags, guards

TAG = "TAG-1234"
MADE = {**guards(), "late": Guard("late", (Tags(),), frozenset({Stage.OUTPUT}))}
for detector in (detector for guard in MADE.values() for detector in guard.detectors):
    detector.inline_below = UNLIMITED  # no worker process has to start


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, an environment without settings, and the sample guards."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.environment, raising=False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    manager = plugins.load_plugins([("samples", SampleGuards(MADE))])
    monkeypatch.setattr(plugins, "load_plugins", lambda: manager)
    monkeypatch.setattr(logs, "configure", lambda settings: None)
    return tmp_path


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli.cli, ("scan", *arguments), input=stdin, prog_name="guardproxy")


def files(*arguments: str, stdin: bytes | None = None) -> Any:
    """What the JSON output says of each file."""
    found = run("--format", "json", *arguments, stdin=stdin)
    assert TAG not in found.output
    return json.loads(found.stdout)["files"]


def test_a_text(here: Path) -> None:
    (here / "a.txt").write_text(f"hello\n😀 see {TAG} and Zorp\n")
    found = run("a.txt", "--guard", "tags, NAMES")
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "a.txt:2:7: tags TAG (1.00)",
        "a.txt:2:20: names NAME (1.00)",
        "2 findings in 1 file: NAME 1, TAG 1. Guards: tags, names.",
    ]
    assert found.stderr == ""


def test_a_clean_text_and_all_guards_of_the_input(here: Path) -> None:
    (here / "a.txt").write_text("nothing here")
    found = run("a.txt")
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == "No findings in 1 file. Guards: braces, mood, names, pairs, raises, tags.\n"


def test_standard_input() -> None:
    (file,) = files("-", "--guard", "tags", stdin=f"\ufeff{TAG}".encode())
    assert (file["file"], file["outcome"], file["total"]) == ("-", "flagged", 1)
    assert file["receipt"] == {"parts": 1, "skipped": {}, "allowed": 0}
    region = {"line": 1, "column": 1, "end_line": 1, "end_column": 9}
    assert file["findings"] == [
        {"guard": "tags", "category": "TAG", "path": "", "start": 0, "end": 8, "score": 1.0, "region": region}
    ]


def test_json_is_walked_and_places_are_in_the_file(here: Path) -> None:
    text = '{"a": ["x", {"type": "\\ud83d\\ude00 \\u0054AG-1234"}],\n "TAG-4321": "TAG-9999", "n": 12345678}'
    (here / "a.JSON").write_text(text)
    (file,) = files("a.JSON", "--guard", "tags")
    places = [
        (f["path"], f["start"], f["end"], *(f["region"][name] for name in ("line", "column", "end_column")))
        for f in file["findings"]
    ]
    assert places == [
        ("/a/1/type", 2, 10, 1, text.index("\\u0054") + 1, text.index('"}]') + 1),
        ("/[TAG]", 0, 8, 2, 3, 11),
        ("/[TAG]", 0, 8, 2, 15, 23),
    ]
    # Two strings of `a`, the value and the long number; what looks like a name is not counted.
    assert file["receipt"] == {"parts": 4, "skipped": {}, "allowed": 0}


def test_json_lines_have_their_numbers(here: Path) -> None:
    (here / "a.jsonl").write_text(f'{{"m": "x"}}\r\n\n{{"m": "{TAG}"}}\n["TAG-5678"]')
    found = run("a.jsonl", "--guard", "tags")
    assert found.stdout.splitlines()[:2] == [
        "a.jsonl:3:8: tags TAG at /m (1.00)",
        "a.jsonl:4:3: tags TAG at /0 (1.00)",
    ]
    assert files("a.jsonl")[0]["receipt"]["parts"] == 3


def test_a_text_is_found_over_every_seam_of_its_pieces(here: Path) -> None:
    (here / "a.txt").write_bytes(b"".join(b"\xc3\xa9 %d TAG-1234\n" % i for i in range(2000)))
    (file,) = files("a.txt", "--guard", "tags")
    assert file["total"] == 2000
    assert [f["region"]["line"] for f in file["findings"]] == list(range(1, 2001))
    assert {f["region"]["column"] for f in file["findings"]} == {5, 6, 7, 8}


def test_no_more_than_so_many_findings_are_listed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MOST_FINDINGS", 2)
    (here / "a.txt").write_text(f"{TAG} " * 5)
    lines = run("a.txt", "--guard", "tags").stdout.splitlines()
    assert lines[2] == "a.txt: 3 more"
    assert lines[3].startswith("5 findings in 1 file: TAG 2.")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"x" * 8191 + b"\xc3\xa9\xff", "It is not UTF-8: byte 8193. Convert it first."),
        ("a.txt", b"ok \xc3", "It is not UTF-8: byte 3. Convert it first."),
        ("a.txt", "TAG-1234".encode("utf-16-le"), "It is no text: byte 1 is NUL. UTF-16 has to be converted"),
        ("a.json", b'{"TAG-1234": ', "It is not valid JSON: Expecting value at line 1, column 14."),
        ("a.json", b'{"a": 1, "a": 2}', "a key occurs twice"),
        ("a.json", b"[" * 600, "not valid JSON"),
        ("a.json", b"", "It is not valid JSON"),
        ("a.json", b'"' + b"x" * 2000 + b'"', "It has more than 1000 characters (max_body)"),
        (
            "a.jsonl",
            b'{"a": 1}\n{"a": TAG-1234}\n',
            "Line 2: It is not valid JSON: Expecting value at line 1",
        ),
        ("a.jsonl", b"1\n" + b"x" * 2000, "Line 2 has more than 1000 characters (max_body)."),
        ("a.txt", b"boom TAG-1234", "The guard 'raises' failed: its detector 'raises' raised ValueError."),
        ("a.json", b'["boom TAG-1234"]', "The guard 'raises' failed"),
    ],
)
def test_what_cannot_be_inspected_is_no_clean_file(here: Path, name: str, data: bytes, message: str) -> None:
    (here / "guardproxy.toml").write_text("max_body = 1000\n")
    (here / name).write_bytes(data)
    (here / "clean.txt").write_text("clean")
    found = run(name, "clean.txt")
    assert found.exit_code == 2
    assert found.stderr.startswith(f"guardproxy: {name}: ")
    assert message in found.stderr
    assert "in 1 file (1 more could not be inspected to the end)" in found.stdout
    told, clean = files(name, "clean.txt")
    assert (told["outcome"], clean["outcome"]) == ("failed", "clean")
    assert message in told["error"]
    assert TAG not in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("-", "--guard", "tugs"),
            "no guard 'tugs'. Guards for input: braces, mood, names, pairs, raises, tags.",
        ),
        (("-", "--guard", "late"), "no guard 'late'"),
        (("-", "--config", "none.toml"), "none.toml"),
    ],
)
def test_bad_usage_is_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    found = run(*arguments, stdin=b"x")
    assert (found.exit_code, found.stdout) == (2, "")
    assert message in found.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [("folder", "It is a folder; name its files."), ("nothing.txt", "It cannot be read: No such file")],
)
def test_what_is_no_file_hides_none_of_the_others(here: Path, name: str, message: str) -> None:
    (here / "folder").mkdir()
    (here / "a.txt").write_text(TAG)
    found = run(name, "a.txt")
    assert (found.exit_code, found.stdout.splitlines()[0]) == (2, "a.txt:1:1: tags TAG (1.00)")
    assert f"guardproxy: {name}: {message}" in found.stderr


def test_a_name_sends_nothing_to_the_terminal(here: Path) -> None:
    found = run("no\n\x1b[31mthing.txt")
    assert "\x1b" not in found.output
    assert "guardproxy: no\\u000a\\u001b[31mthing.txt: It cannot be read" in found.stderr


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141), (ValueError(TAG), 2)]
)
def test_a_scan_that_breaks_off_says_neither_clean_nor_found(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> int:
        raise error

    monkeypatch.setattr(scan, "run", breaks)
    found = run("-")
    assert found.exit_code == code
    assert TAG not in found.output


def test_decoding_reports_the_bytes_that_were_dealt_with() -> None:
    counts: list[int] = []
    data = ("é" * 9000).encode()
    pieces = decoded(io.BytesIO(data), counts.append)
    next(pieces)
    assert counts == []
    assert "".join(("", *pieces)) == "é" * (9000 - 4096)
    assert sum(counts) == len(data)


@given(st.text(alphabet=st.sampled_from('aé😀\n"\\\t\ud83d\ude00\u0000')), st.booleans())
def test_offsets_lead_back_into_the_literal(text: str, ascii_only: bool) -> None:
    literal = json.dumps(text, ensure_ascii=ascii_only)
    whole, value = f"  {literal} ", json.loads(literal)
    offsets = offsets_of(whole, 2, 2 + len(literal))
    assert len(offsets) == len(value) + 1
    for index, character in enumerate(value):
        assert json.loads(f'"{whole[offsets[index] : offsets[index + 1]]}"') == character


def test_offsets_in_a_number() -> None:
    assert offsets_of("[12]", 1, 3) == [1, 2, 3]


@given(st.lists(st.text(alphabet="a\n", max_size=5), max_size=6), st.data())
def test_lines(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    lines = Lines(first=3)
    for piece in pieces:
        lines.add(piece)
    at = data.draw(st.integers(0, len(text)))
    before = text[:at]
    line, column = 3 + before.count("\n"), at - (before.rfind("\n") + 1) + 1
    assert lines.region(at, at) == Region(line, column, line, column)


def test_a_file_that_cannot_be_opened(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a.txt").write_text("x")

    def refuse(*_: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("rich_click.open_file", refuse)
    found = run("a.txt", "--guard", "tags")
    assert found.exit_code == 2
    assert found.stderr == "guardproxy: a.txt: It cannot be read: Permission denied.\n"


def test_an_unreadable_stream_stops_at_once() -> None:
    with pytest.raises(Unreadable):
        list(decoded(io.BytesIO(b"a\x00b")))
