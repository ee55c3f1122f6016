"""Several workers behind one port: a span is opened in one process and ended in another, and comes once."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardproxy.testing.otlp import OtlpCollector
from guardproxy_tracing.ids import parent_of
from tests.engine.conftest import _proxy_address, running

HEADERS = {"authorization": "Bearer client"}
SPANS = 60


def test_spans_of_several_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    config = tmp_path / "guardproxy.toml"
    config.write_text('log_format = "json"\nworkers = 2\n')
    command = [sys.executable, "-m", "guardproxy", "serve", "--port", "0", "--config", str(config)]

    def send(method: str, url: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.request(method, url, json=body, headers=HEADERS)  # over a connection of its own

    def live(url: str, number: int) -> str:
        opened = send("POST", f"{url}/v3/spans", {"name": f"n{number}"})
        assert opened.status_code == 201
        uuid: str = opened.json()["data"]["id"]
        for _ in range(2):
            body = {} if number % 10 == 0 else {"end_time": "2096-01-31T12:00:00Z"}
            assert send("PATCH", f"{url}/v3/spans/{uuid}", body).status_code == 204
        return uuid

    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        with running(command, _proxy_address) as url, ThreadPoolExecutor(8) as threads:
            uuids = list(threads.map(lambda number: live(url, number), range(SPANS)))
            listed = httpx.get(f"{url}/v3/traces", headers=HEADERS).json()
            assert listed["meta"]["total"] == SPANS
    found = {span.name: span for span in collector.spans}
    assert len(collector.spans) == len(found) == SPANS
    for number, uuid in enumerate(uuids):
        trace_id, span_id = parent_of(uuid) or (0, 0)
        span = found[f"n{number}"]
        assert (span.trace_id, span.span_id) == (f"{trace_id:032x}", f"{span_id:016x}")
        unfinished = span.attributes.get("guardproxy.span.unfinished")
        assert unfinished == ("shutdown" if number % 10 == 0 else None)
    assert not list(tmp_path.glob("guardproxy-spans-*"))
