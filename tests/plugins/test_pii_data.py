"""What `pii` reaches on the development data: measured floors, so that no change loses them unseen."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import guardproxy_pii
from guardproxy.blocks import blocks
from guardproxy.types import Detector, Match
from guardproxy_pii.config import PiiSettings

DATA = (Path(__file__).parents[2] / "../shared/detection").resolve()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "score.py").is_file(), reason="the detection data is not beside the project"
    ),
]


@cache
def _detectors(preset: str) -> tuple[Detector, ...]:
    detectors = guardproxy_pii.detectors(PiiSettings(preset=preset))
    for detector in detectors:
        detector.load()
    return detectors


def _scan(detector: Detector, text: str) -> list[Match]:
    whole = detector.reach is not None
    pieces = [] if whole else blocks(text)
    results = detector.scan([text] if whole else [text[piece.seen : piece.end] for piece in pieces])
    assert isinstance(results, list)
    if whole:
        return results[0]
    return [match for piece, found in zip(pieces, results, strict=True) for match in piece.own(found)]


def _score(folder: Path, preset: str, names: Iterable[str], *options: str) -> dict[str, Any]:
    gold, predicted = folder / "gold.jsonl", folder / "predicted.jsonl"
    packed = b"".join((DATA / f"{name}.jsonl.gz").read_bytes() for name in names)
    gold.write_bytes(gzip.decompress(packed))
    lines = gold.read_text(encoding="utf8").splitlines()
    with predicted.open("w", encoding="utf8") as out:
        for record in map(json.loads, lines):
            matches = [match for detector in _detectors(preset) for match in _scan(detector, record["text"])]
            spans = [{"start": m.start, "end": m.end, "type": m.category} for m in matches]
            out.write(json.dumps({"id": record["id"], "spans": spans}) + "\n")
    command = [sys.executable, str(DATA / "score.py"), "spans", str(gold), str(predicted), "--json", *options]
    scores: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return scores


def test_what_is_found(tmp_path: Path) -> None:
    types = _score(tmp_path, "all", ["pii_presidio_dev", "pii_values_dev"])["types"]
    floors = {
        "CREDIT_CARD": (0.99, 0.99),
        "IBAN_CODE": (0.98, 0.96),
        "PHONE_NUMBER": (0.95, 0.95),
        "EMAIL_ADDRESS": (0.99, 0.99),
        "IP_ADDRESS": (1.0, 0.99),
        "US_SSN": (1.0, 0.98),
        "LOCATION": (0.60, 0.94),
        "PERSON": (0.85, 0.91),
    }
    reached = {name: (types[name]["recall"], types[name]["precision"]) for name in floors}
    assert {n: r for n, r in reached.items() if r[0] < floors[n][0] or r[1] < floors[n][1]} == {}
    assert types["PERSON"]["f2"] >= 0.86


def test_persons_in_what_users_write(tmp_path: Path) -> None:
    types = _score(tmp_path, "all", ["pii_wnut17_dev"])["types"]
    assert types["PERSON"]["f2"] >= 0.45


def test_what_is_found_in_code_and_lock_files(tmp_path: Path) -> None:
    groups = _score(tmp_path, "structured", ["neg_dev"])["groups"]
    machine = {name: group["fp_per_10k_chars"] for name, group in groups.items() if name != "neg/alpaca-seed"}
    assert len(machine) == 7
    assert {name: rate for name, rate in machine.items() if rate > (1.4 if name == "neg/uuid" else 0.3)} == {}


def test_persons_in_code_and_lock_files(tmp_path: Path) -> None:
    groups = _score(tmp_path, "default", ["neg_dev"], "--types", "PERSON")["groups"]
    machine = {name: group["fp_per_10k_chars"] for name, group in groups.items() if name != "neg/alpaca-seed"}
    assert {name: rate for name, rate in machine.items() if rate > 0.2} == {}
