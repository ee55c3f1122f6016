"""`guardproxy eval`: figures of a guard on labelled texts, in a table and as JSON."""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from guardproxy import Detector, Guard, Match, cli, evaluation, hookimpl, logs, plugins
from guardproxy.gold import Record
from guardproxy.scanning import UNLIMITED
from guardproxy.settings import SETTINGS, Settings
from tests.harness import SampleGuards
from tests.samples import guards


class Loud(msgspec.Struct, frozen=True):
    threshold: float = 0.5


class Shouting(Detector):
    """Blockwise: the share of capitals, from a threshold on."""

    name = "shouting"
    inline_below = UNLIMITED

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        found = []
        for text in texts:
            share = sum(c.isupper() for c in text) / max(1, len(text))
            found.append([Match(0, len(text), "LOUD", share)] if text and share >= self.threshold else [])
        return found


class LoudPlugin:
    @hookimpl
    def guardproxy_register_settings(self) -> type[msgspec.Struct]:
        return Loud

    @hookimpl
    def guardproxy_register_guards(self, settings: Settings) -> list[Guard]:
        own = settings.plugins["loud"]
        assert isinstance(own, Loud)
        return [Guard("shouting", (Shouting(own.threshold),))]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, an environment without settings, sample guards, and one with a threshold."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.environment, raising=False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    made = guards()
    for detector in (detector for guard in made.values() for detector in guard.detectors):
        detector.inline_below = UNLIMITED
    manager = plugins.load_plugins([("samples", SampleGuards(made)), ("loud", LoudPlugin())])
    monkeypatch.setattr(plugins, "load_plugins", lambda: manager)
    monkeypatch.setattr(logs, "configure", lambda settings: None)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ("eval", *arguments), prog_name="guardproxy")


def write(*records: Any) -> str:
    Path("gold.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    return "gold.jsonl"


def spans(text: str, *found: tuple[int, int, str], group: str = "") -> dict[str, Any]:
    return {"text": text, "spans": [{"start": s, "end": e, "type": t} for s, e, t in found], "group": group}


def test_ranges() -> None:
    file = write(
        spans("see TAG-1234 and Zorp", (4, 12, "LABEL"), group="[a]"),
        spans("see TAG-1234, and TAG 9999", (4, 12, "LABEL"), (18, 26, "LABEL"), group="b"),
        spans("TAG-9999", group="b"),
    )
    found = run(file, "--guard", "tags,names", "--map", "LABEL=TAG", "--format", "json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert (told["gold"], told["guards"], told["texts"], told["characters"]) == (
        file,
        ["tags", "names"],
        3,
        55,
    )
    assert told["ms_per_kb"] > 0
    assert list(told["entities"]) == ["TAG", "NAME", "all"]
    tags = told["entities"]["TAG"]
    assert (tags["gold"], tags["found"], tags["recall"], tags["precision"]) == (3, 3, 2 / 3, 2 / 3)
    assert tags["leaked"] == 8 / 24
    assert told["entities"]["NAME"]["false_per_10k"] == pytest.approx(10_000 / 55)
    assert told["groups"]["b"]["texts_false"] == 1
    table = run(file, "--guard", "tags,names", "--map", "LABEL=TAG").stdout
    assert "gold.jsonl: 3 texts, 55 characters. Guards: tags, names. Latency, median: " in table
    lines = [line.split() for line in table.splitlines()]
    assert ["TAG", "3", "3", "0.667", "0.667", "0.667", "0.667", "0.333", "181.818"] in lines
    assert ["[a]", "1", "1.000", "0.500", "1.000", "-", "476.190"] in lines


def test_labels_rank_below_the_guards_threshold_too() -> None:
    texts = [("AAAA", 1), ("AAbbb", 1), ("Abbbb", 0), ("AAAb", 0), ("bbbb", 0)]
    file = write(*({"text": text, "label": label, "group": "g"} for text, label in texts))
    told = json.loads(run(file, "--guard", "shouting", "--format", "json").stdout)
    # AAbbb is below the threshold, and ranks above two of the three others all the same.
    expected = {"texts": 5, "positive": 2, "auc": 5 / 6, "recall": 0.5, "false_rate": pytest.approx(1 / 3)}
    assert told["labels"] == {"all": expected, "g": expected}
    strict = Path("strict.toml")
    strict.write_text("[guards.loud]\nthreshold = 0.9\n")
    told = json.loads(run(file, "--guard", "shouting", "--format", "json", "--config", "strict.toml").stdout)
    assert told["labels"]["all"] == {**expected, "false_rate": 0}
    told = json.loads(run(file, "--guard", "tags", "--format", "json").stdout)
    assert told["labels"]["all"]["auc"] == 0.5
    assert ["all", "5", "2", "0.833", "0.500", "0.333"] in [
        line.split() for line in run(file, "--guard", "shouting").stdout.splitlines()
    ]


@pytest.mark.parametrize(
    ("lines", "arguments", "message"),
    [
        ('{"text": "a", "label": 1}\n{', (), "gold.jsonl: Line 2: not valid JSON"),
        ('{"text": "secret", "spans": [{"start": 9}]}', (), "Line 1: 'spans[0].start' must be"),
        ('{"text": "boom", "label": 1}', ("--guard", "raises"), "gold.jsonl: The guard 'raises' failed"),
        ('{"text": "a", "label": 1}', ("--guard", "tugs"), "no guard 'tugs'"),
        ('{"text": "a", "label": 1}', ("--map", "A"), "--map must be TYPE=TYPE"),
        ('{"text": "a", "label": 1}', ("--map", "A="), "--map must be TYPE=TYPE"),
        ("\udcff", (), "gold.jsonl: cannot be read: byte 0 is not UTF-8."),
    ],
)
def test_what_cannot_be_scored_is_exit_code_2(lines: str, arguments: tuple[str, ...], message: str) -> None:
    Path("gold.jsonl").write_text(lines, "utf-8", "surrogateescape")
    found = run("gold.jsonl", *arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert message in found.stderr
    assert "secret" not in found.output


def test_only_a_line_feed_ends_a_line() -> None:
    text = '\ufeff{"text": "a\u2028TAG-1234\u0085", "spans": []}\r\n{"text": "TAG-1234", "spans": []}\n'
    Path("gold.jsonl").write_text(text, "utf-8", newline="")
    told = json.loads(run("gold.jsonl", "--guard", "tags", "--format", "json").stdout)
    assert (told["texts"], told["entities"]["TAG"]["found"]) == (2, 2)


def test_a_file_that_is_none_is_exit_code_2() -> None:
    assert run("nothing.jsonl").exit_code == 2


def test_latency_is_the_median_for_each_kibibyte() -> None:
    records = [Record("1", "x" * size, None, None, (), True, "") for size in (1024, 2048, 0, 512)]
    assert evaluation.ms_per_kb(records, [0.001, 0.008, 9, 0.001]) == 2.0
    assert evaluation.ms_per_kb(records[2:3], [1]) is None


def test_names_of_types_and_groups_write_nothing_of_their_own() -> None:
    found = run(write(spans("a b c", (0, 3, "A\x1b[31m\nB\ud800"), group="[red]g\ud800")), "--guard", "tags")
    assert found.exit_code == 0, found.output
    assert "A\\u001b[31m\\u000aB\\ud800" in found.stdout
    assert "[red]g\\ud800" in found.stdout
