"""The guard `prompt_injection` against labelled data: floors under what was measured."""

from collections.abc import Sequence

import pytest

from guardproxy import Detector
from guardproxy.blocks import blocks
from guardproxy_injection import HiddenText, InjectionModel, Overrides, RoleMarkers
from tests.plugins.test_toxicity_data import DETECTION, records

pytestmark = pytest.mark.skipif(
    not DETECTION.is_dir(), reason="the labelled data (../shared/detection) is absent"
)

RULES: Sequence[Detector] = (HiddenText(), RoleMarkers(), Overrides())


@pytest.fixture(scope="module")
def model() -> InjectionModel:
    loaded = InjectionModel()
    loaded.load()
    return loaded


def found(model: InjectionModel, text: str) -> bool:
    if any(detector.scan([text]) != [[]] for detector in RULES):
        return True
    return any(model.scan([text[block.seen : block.end]])[0] for block in blocks(text))


def test_attacks_are_found(model: InjectionModel) -> None:
    texts = [record["text"] for record in records("inject_dev") if record["label"]][::3]
    assert sum(found(model, text) for text in texts) >= 0.95 * len(texts)


def test_ordinary_tasks_are_clean(model: InjectionModel) -> None:
    texts = [record["text"] for record in records("inject_dev") if not record["label"]]
    assert sum(found(model, text) for text in texts) <= 0.02 * len(texts)


@pytest.mark.parametrize("name", ["tox_benign_dev", "neg_dev"])
def test_answers_code_and_results_are_clean(model: InjectionModel, name: str) -> None:
    texts = [record["text"] for record in records(name)]
    assert sum(found(model, text) for text in texts) <= 0.01 * len(texts)
