"""What can work and is hardly meant is said at the start, with what would be right and no credential."""

import pytest

import guardproxy_metrics as metrics
import guardproxy_tracing as tracing
from guardproxy import Settings
from guardproxy_tracing.doubts import doubts
from guardproxy_tracing.environment import Signal

SECRET = "ca" + "nary"
ENDPOINT, TRACES, METRICS = (f"OTEL_EXPORTER_OTLP_{name}ENDPOINT" for name in ("", "TRACES_", "METRICS_"))
PROTOCOL, TIMEOUT = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TIMEOUT"


@pytest.mark.parametrize(
    ("environ", "signal", "said"),
    [
        (
            {ENDPOINT: f"http://u:{SECRET}@a.example:4318/v1/traces?k={SECRET}"},
            "TRACES",
            f"{ENDPOINT} ends in /v1/traces, and /v1/traces is appended to it: leave it away, as in "
            "http://a.example:4318.",
        ),
        (
            {ENDPOINT: "https://a.example/v1/traces/"},
            "METRICS",
            f"{ENDPOINT} ends in /v1/traces, and /v1/metrics is appended to it: leave it away, as in "
            "https://a.example.",
        ),
        (
            {ENDPOINT: f"https://a.example/{SECRET}/v1/metrics"},
            "METRICS",
            f"{ENDPOINT} ends in /v1/metrics, and /v1/metrics is appended to it: leave it away, as in "
            "https://a.example/….",
        ),
        (
            {TRACES: f"http://{SECRET}@a.example:4318"},
            "TRACES",
            f"{TRACES} (http://a.example:4318) has no path, and is used as it is: a collector takes them at "
            "http://a.example:4318/v1/traces.",
        ),
        (
            {METRICS: "http://[::1]:4318/"},
            "METRICS",
            f"{METRICS} (http://[::1]:4318) has no path, and is used as it is: a collector takes them at "
            "http://[::1]:4318/v1/metrics.",
        ),
        (
            {ENDPOINT: "http://a.example:4317"},
            "TRACES",
            f"{ENDPOINT} names the port 4317 (http://a.example:4317), where a collector speaks grpc, and the "
            "protocol is http/protobuf: use the port 4318, or the protocol grpc.",
        ),
        (
            {ENDPOINT: "a.example:4318", PROTOCOL: "grpc"},
            "TRACES",
            f"{ENDPOINT} names the port 4318 (a.example:4318), where a collector speaks http/protobuf, and "
            "the protocol is grpc: use the port 4317, or the protocol http/protobuf.",
        ),
        (
            {ENDPOINT: "http://a.example:4318", TIMEOUT: "10000"},
            "METRICS",
            f"{TIMEOUT} = '10000' counts seconds here, not milliseconds.",
        ),
    ],
)
def test_what_is_hardly_meant(environ: dict[str, str], signal: Signal, said: str) -> None:
    assert doubts(environ, signal) == [said]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {ENDPOINT: "http://a.example:4318"},
        {ENDPOINT: "http://a.example/otlp/"},
        {TRACES: "http://a.example:4318/v1/traces", METRICS: "http://a.example:4318/v1/metrics"},
        {TRACES: "http://a.example:4317", METRICS: "a.example:4317", PROTOCOL: "grpc"},
        {ENDPOINT: "dns:a.example:4318", PROTOCOL: "grpc"},
        {ENDPOINT: "http://a.example:4317/v1/traces", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "console,otlp", TIMEOUT: "30"},
    ],
)
def test_what_may_be_meant_is_not_doubted(environ: dict[str, str]) -> None:
    assert doubts(environ, "TRACES", drawn=True) == doubts(environ, "METRICS") == []


@pytest.mark.parametrize("word", ["gen_ai_latest", "gen_ai/dup", "GEN_AI_LATEST_EXPERIMENTAL"])
def test_a_word_about_the_names_of_guards_that_means_nothing(word: str) -> None:
    environ = {"OTEL_SEMCONV_STABILITY_OPT_IN": f"http/dup, {word}"}
    (said,) = doubts(environ, "TRACES", drawn=True)
    assert said == (
        f"OTEL_SEMCONV_STABILITY_OPT_IN has '{word}', which is not known here: for guards there is "
        "gen_ai_latest_experimental."
    )
    assert doubts(environ, "TRACES") == []
    for right in ("http/dup,database", "gen_ai_latest_experimental"):
        assert doubts({"OTEL_SEMCONV_STABILITY_OPT_IN": right}, "TRACES", drawn=True) == []


def test_a_word_that_may_be_a_credential_is_not_shown() -> None:
    (said,) = doubts({"OTEL_SEMCONV_STABILITY_OPT_IN": f"gen_ai {SECRET}"}, "TRACES", drawn=True)
    assert "has a word, which is not known here" in said
    assert SECRET not in said


def test_an_argument_without_its_sampler() -> None:
    given = {"OTEL_TRACES_SAMPLER_ARG": "0.1"}
    (said,) = doubts(given, "TRACES", drawn=True)
    assert said.startswith("OTEL_TRACES_SAMPLER_ARG has no effect without OTEL_TRACES_SAMPLER, such as ")
    assert doubts(given | {TRACES: "http://a.example:4318/v1/traces"}, "TRACES") == [said]
    assert doubts(given, "TRACES") == doubts(given, "METRICS") == []
    assert doubts(given | {"OTEL_TRACES_SAMPLER": "traceidratio"}, "TRACES", drawn=True) == []


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("OTEL_EXPORTER_OTLP_TRACE_ENDPOINT", TRACES),
        ("OTEL_EXPORTER_OTLP_ENDPONT", ENDPOINT),
        ("OTEL_EXPORTER_OTLP_METRIC_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"),
        ("OTEL_TRACES_EXPORTERS", "OTEL_TRACES_EXPORTER"),
        ("OTEL_TRACES_SAMPLER_ARGS", "OTEL_TRACES_SAMPLER_ARG"),
        ("OTEL_METRICS_EXPORTR", "OTEL_METRICS_EXPORTER"),
        ("OTEL_BSP_MAX_QUEUE", "OTEL_BSP_MAX_QUEUE_SIZE"),
    ],
)
def test_a_name_that_nobody_reads(name: str, nearest: str) -> None:
    said = [f"{name} is no variable of OpenTelemetry's: the nearest is {nearest}."]
    assert doubts({name: SECRET}, "TRACES") == said
    assert doubts({name: SECRET, ENDPOINT: "http://a.example:4318"}, "TRACES") == said
    assert doubts({name: SECRET}, "METRICS") == []  # once is enough
    assert doubts({name: SECRET, "OTEL_SDK_DISABLED": "true"}, "TRACES") == []
    assert doubts({name: ""}, "TRACES") == []


@pytest.mark.parametrize(
    "name",
    [
        *("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_METRICS_EXEMPLAR_FILTER"),
        *("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT"),
        *("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_LOGS_SOMETHING"),
    ],
)
def test_names_that_somebody_reads_are_not_doubted(name: str) -> None:
    assert doubts({name: "none"}, "TRACES") == doubts({name: "none"}, "METRICS") == []


def test_both_plugins_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://a.example:4318/v1/traces")
    assert [said.split(":")[0] for said in tracing.guardproxy_check(Settings())] == [
        f"{ENDPOINT} ends in /v1/traces, and /v1/traces is appended to it"
    ]
    assert len(metrics.guardproxy_check(Settings())) == 1
