"""The figures: by hand on small texts, and against the scorer of the shared data where that is at hand."""

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from guardproxy.gold import Record, TypedRange, read
from guardproxy.scoring import renamer, score_labels, score_ranges

DATA = (Path(__file__).parents[1] / "../shared/detection").resolve()
TEXT = "0123456789" * 10


def record(
    *spans: TypedRange, types: tuple[str, ...] = (), ignore: tuple[TypedRange, ...] = (), group: str = ""
) -> Record:
    return Record("1", TEXT, spans, frozenset(types) or None, ignore, None, group)


def figures(gold: Record, *found: TypedRange, **names: str) -> dict[str, Any]:
    scores = score_ranges([gold], [found], renamer(names))
    return {kind: counts.row(scores.characters) for kind, counts in scores.types.items()}


def test_half_of_a_range_is_a_hit_and_what_is_missed_leaks() -> None:
    gold = record(TypedRange(0, 10, "A"), TypedRange(20, 30, "A"), TypedRange(40, 50, "A"))
    found = figures(
        gold,
        TypedRange(5, 10, "A"),
        TypedRange(26, 30, "A"),
        TypedRange(60, 70, "A"),
        TypedRange(40, 50, "B"),
    )
    a = found["A"]
    assert (a["gold"], a["found"], a["recall"], a["precision"]) == (3, 3, pytest.approx(1 / 3), 2 / 3)
    assert a["exact"] == 0
    assert a["leaked"] == pytest.approx(11 / 30)  # of another type is covered all the same
    assert a["false_per_10k"] == 100
    assert a["f2"] == pytest.approx(5 * (2 / 3) * (1 / 3) / (4 * (2 / 3) + 1 / 3))
    assert (found["B"]["gold"], found["B"]["recall"], found["B"]["precision"]) == (0, None, 0)


def test_ranges_that_overlap_are_counted_once_and_together() -> None:
    gold = record(TypedRange(0, 10, "A"))
    assert (
        figures(gold, TypedRange(0, 3, "A"), TypedRange(0, 3, "A"), TypedRange(2, 4, "A"))["A"]["recall"] == 0
    )
    assert figures(gold, TypedRange(0, 3, "A"), TypedRange(8, 12, "A"))["A"]["recall"] == 1


def test_what_does_not_count() -> None:
    gold = record(TypedRange(0, 10, "A"), types=("A",), ignore=(TypedRange(20, 26, "A"),))
    found = figures(
        gold,
        TypedRange(0, 10, "A"),
        TypedRange(20, 30, "A"),
        TypedRange(40, 41, "A"),
        TypedRange(50, 60, "B"),
    )
    assert found == {
        "A": {
            "gold": 1,
            "found": 1,
            "recall": 1,
            "precision": 1,
            "f2": 1,
            "exact": 1,
            "leaked": 0,
            "false_per_10k": 0,
        }
    }


def test_types_are_renamed_on_both_sides() -> None:
    gold = record(TypedRange(0, 10, "NAME"), types=("NAME",))
    assert figures(gold, TypedRange(0, 10, "PER"), NAME="PERSON", PER="PERSON")["PERSON"]["recall"] == 1
    assert set(figures(gold, TypedRange(0, 10, "X"), TypedRange(20, 30, "Y"), **{"*": "ANY", "Y": "Z"})) == {
        "ANY"
    }
    assert figures(gold, TypedRange(0, 10, "X"), **{"*": "ANY"})["ANY"]["recall"] == 1


def test_quotes_around_a_range_are_exact() -> None:
    gold = Record("1", 'say "abc" now', (TypedRange(5, 8, "A"),), None, (), None, "")
    assert figures(gold, TypedRange(4, 9, "A"))["A"]["exact"] == 1
    assert figures(gold, TypedRange(4, 10, "A"))["A"]["exact"] == 1
    assert figures(gold, TypedRange(4, 12, "A"))["A"]["exact"] == 0


def test_groups() -> None:
    records = [record(TypedRange(0, 10, "A"), group="g"), record(group="g"), record(group="h")]
    found = [[TypedRange(0, 10, "A")], [TypedRange(0, 10, "A"), TypedRange(20, 30, "A")], []]
    scores = score_ranges(records, found)
    assert {name: group.row() for name, group in scores.groups.items()} == {
        "g": {
            "texts": 2,
            "recall": 1,
            "precision": 1 / 3,
            "texts_hit": 1,
            "texts_false": 1,
            "false_per_10k": 100,
        },
        "h": {
            "texts": 1,
            "recall": None,
            "precision": None,
            "texts_hit": None,
            "texts_false": 0,
            "false_per_10k": 0,
        },
    }
    assert scores.total.row(scores.characters)["found"] == 3


def labelled(*labels: tuple[int, str]) -> list[Record]:
    return [
        Record(str(i), "x", None, None, (), bool(label), group) for i, (label, group) in enumerate(labels)
    ]


def test_labels() -> None:
    records = labelled((1, "a"), (1, "a"), (0, "a"), (0, "b"), (0, "b"))
    scores = score_labels(records, [0.9, 0.0, 0.5, 0.0, 0.0], [True, False, True, False, False])
    found = {name: group.row() for name, group in scores.items()}
    assert found["all"] == {
        "texts": 5,
        "positive": 2,
        "auc": pytest.approx((3 + 0 + 2 * 0.5) / 6),
        "recall": 0.5,
        "false_rate": pytest.approx(1 / 3),
    }
    assert found["a"] == {"texts": 3, "positive": 2, "auc": 0.5, "recall": 0.5, "false_rate": 1}
    assert found["b"] == {"texts": 2, "positive": 0, "auc": None, "recall": None, "false_rate": 0}


# The shared data has a scorer of its own. Ranges and scores are made up around the labels: what counts is
# that both come to the same figures.

shared = pytest.mark.skipif(not (DATA / "score.py").is_file(), reason="the detection data is not beside it")
NAMES = {"GPE": "LOCATION", "NAME": "PERSON"}  # of those that the scorer maps, two


def theirs(kind: str, folder: Path, lines: Sequence[str], predicted: Sequence[Any], *options: str) -> Any:
    (folder / "gold").write_text("\n".join(lines), "utf-8")
    (folder / "found").write_text("\n".join(map(json.dumps, predicted)), "utf-8")
    command = [sys.executable, str(DATA / "score.py"), kind, "gold", "found", "--json", *options]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout)


def lines_of(name: str) -> list[str]:
    return gzip.decompress((DATA / f"{name}.jsonl.gz").read_bytes()).decode().split("\n")


def made_up(of: Record, chance: random.Random) -> list[TypedRange]:
    """Ranges near those of the labels, and elsewhere."""
    near = [*(of.ranges or ()), *of.ignore] * 2
    near += [TypedRange(at, at + 4, "PERSON") for at in range(0, len(of.text), 40)]
    found = []
    for span in near:
        start = min(max(0, span.start + chance.randint(-3, 3)), len(of.text))
        end = min(len(of.text), start + max(1, span.end - span.start + chance.randint(-6, 6)))
        kind = chance.choice([span.type, span.type, "PERSON", "GPE", "NAME", "OTHER"])
        if start < end and chance.random() < 0.6:
            found.append(TypedRange(start, end, kind))
    return found


@shared
@pytest.mark.parametrize(
    ("name", "fold"),
    [("pii_presidio_dev", False), ("pii_wnut17_dev", False), ("neg_dev", False), ("secrets_dev", True)],
)
def test_ranges_agree_with_the_scorer_of_the_data(name: str, fold: bool, tmp_path: Path) -> None:
    lines, chance = lines_of(name), random.Random(name)
    records = read(lines)
    found = [made_up(record, chance) for record in records]
    predicted = [
        {"id": record.id, "spans": [span._asdict() for span in spans]}
        for record, spans in zip(records, found, strict=True)
    ]
    other = theirs("spans", tmp_path, lines, predicted, *(["--fold"] if fold else []))
    ours = score_ranges(records, found, renamer({"*": "SECRET"} if fold else NAMES))
    rows = {kind: counts.row(ours.characters) for kind, counts in ours.types.items()}
    rows["ALL(micro)"] = ours.total.row(ours.characters)
    same = {"gold": "gold", "found": "pred", "recall": "recall", "precision": "precision", "f2": "f2"}
    same |= {"exact": "exact", "leaked": "leak"}
    for kind, row in rows.items():
        for mine, its in same.items():
            assert row[mine] == pytest.approx(other["types"][kind][its]), (kind, mine)
    assert set(rows) == set(other["types"]) - {"ALL(macro)"}
    for group, counts in ours.groups.items():
        row, its_row = counts.row(), other["groups"][group]
        assert row["recall"] == pytest.approx(its_row["span_recall"])
        assert row["precision"] == pytest.approx(its_row["span_precision"])
        assert row["texts_hit"] == pytest.approx(its_row["rec_recall"])
        assert row["texts_false"] == pytest.approx(its_row["rec_fpr"])
        assert row["false_per_10k"] == pytest.approx(its_row["fp_per_10k_chars"])


@shared
@pytest.mark.parametrize("name", ["tox_dev", "inject_dev"])
def test_labels_agree_with_the_scorer_of_the_data(name: str, tmp_path: Path) -> None:
    lines, chance = lines_of(name), random.Random(name)
    records = read(lines)
    scores = [round(chance.random() * 0.7 + 0.3 * bool(record.label), 1) for record in records]
    predicted = [{"id": r.id, "score": score} for r, score in zip(records, scores, strict=True)]
    other = theirs("labels", tmp_path, lines, predicted, "--threshold", "0.6", "--by", "group")
    ours = score_labels(records, scores, [score >= 0.6 for score in scores])
    assert {name if name != "all" else "ALL" for name in ours} == set(other)
    for group, found in ours.items():
        its = other["ALL" if group == "all" else group]
        assert (found.texts, found.positive) == (its["n"], its["pos"])
        assert found.auc == (None if its["auc"] is None else pytest.approx(its["auc"]))
        assert found.recall == (pytest.approx(its["recall"]) if its["pos"] else None)
        assert found.false_rate == (None if its["fpr"] is None else pytest.approx(its["fpr"]))
