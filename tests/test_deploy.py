"""deploy/: the compose file, the image, and what they mount, as far as it can be told without Docker."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import msgspec
import pytest

from guardproxy.config import load_settings
from guardproxy.plugins import load_plugins, settings_types
from guardproxy.serve import GRACE
from guardproxy.settings import SETTINGS, Settings
from guardproxy.values import is_loopback
from tests import venvs
from tests.backends.processes import environment, running, until

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = msgspec.yaml.decode((DEPLOY / "compose.yaml").read_bytes())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DEFAULTED = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")


def variables(service: str) -> dict[str, str]:
    """The environment that compose gives a service, where the user's own names nothing."""
    given: Mapping[str, str] = SERVICES[service].get("environment", {})
    return {name: DEFAULTED.sub(lambda found: found[1], value) for name, value in given.items()}


def composed_settings() -> Settings:
    given = {name: value for name, value in variables("guardproxy").items() if name.startswith("GUARDPROXY_")}
    return load_settings(DEPLOY / "guardproxy.toml", given, {}, settings_types(load_plugins()))


def test_the_services() -> None:
    assert set(SERVICES) == {"guardproxy", "collector", "jaeger", "prometheus"}
    for name, service in SERVICES.items():
        for other in service.get("depends_on", ()):
            assert other in SERVICES, name


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "user"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_is_published_on_the_loopback_only(name: str) -> None:
    for port in SERVICES[name]["ports"]:
        address, _, ports = port.partition(":")
        assert is_loopback(address), port
        assert re.fullmatch(r"\d+:\d+", ports), port


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    if "build" not in SERVICES[name]:
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", image)


@pytest.mark.parametrize("name", SERVICES)
def test_a_mounted_file_is_there_and_cannot_be_written(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, _, target = volume.partition(":")
        if source.startswith("."):
            assert (DEPLOY / source).is_file(), volume
            assert target.endswith(":ro"), volume
        else:
            assert source in COMPOSE["volumes"], volume


def test_every_service_has_a_healthcheck_but_the_one_that_cannot() -> None:
    image = "HEALTHCHECK" in {instruction for instruction, _ in STAGES[-1].instructions}
    assert image
    assert {name for name in SERVICES if "healthcheck" not in SERVICES[name]} == {"guardproxy", "collector"}


def test_every_variable_of_guardproxy_is_a_setting_and_together_they_start() -> None:
    known = {setting.environment for setting in SETTINGS}
    documented = "".join((ROOT / f"docs/{page}.md").read_text("utf-8") for page in ("tracing", "metrics"))
    for name in variables("guardproxy"):
        assert name in known or (name.startswith("OTEL_") and f"`{name}`" in documented), name
    settings = composed_settings()
    assert not is_loopback(settings.host)  # or nobody reached it from outside of the container
    assert settings.upstream_api_key is None
    assert settings.auth == "required"
    assert settings.floor.input["secrets"].action.word == "redact"


def test_there_is_time_to_drain() -> None:
    seconds = int(SERVICES["guardproxy"]["stop_grace_period"].removesuffix("s"))
    assert seconds > composed_settings().drain + GRACE


def test_the_collector_is_told_where_to_listen_and_what_others_use() -> None:
    config = (ROOT / "otel-collector.yaml").read_text("utf-8")
    given = variables("collector")
    assert all(f"${{env:{name}:-" in config for name in given)
    ports = {name: value.rpartition(":")[2] for name, value in given.items()}
    assert f"http://collector:{ports['OTELCOL_OTLP_HTTP']}/v1/traces" in variables("guardproxy").values()
    published = {port.rpartition(":")[2] for port in SERVICES["collector"]["ports"]}
    assert published == {ports["OTELCOL_OTLP_GRPC"], ports["OTELCOL_OTLP_HTTP"]}
    targets = [
        target
        for job in msgspec.yaml.decode((DEPLOY / "prometheus.yaml").read_bytes())["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert targets == [f"guardproxy:{composed_settings().port}", f"collector:{ports['OTELCOL_PROMETHEUS']}"]
    published = {port.rpartition(":")[2] for port in SERVICES["guardproxy"]["ports"]}
    assert published == {str(composed_settings().port)}


def _output(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_docker_compose_reads_it() -> None:
    if shutil.which("docker") is None or _output("docker", "compose", "version").returncode:
        pytest.skip("docker compose is not installed")
    read = _output("docker", "compose", "-f", "deploy/compose.yaml", "config", "--quiet")
    assert read.returncode == 0, read.stderr


def test_promtool_reads_the_configuration_of_prometheus() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    read = _output("promtool", "check", "config", "deploy/prometheus.yaml")
    assert read.returncode == 0, read.stdout + read.stderr


# The image


@dataclass
class Stage:
    """A stage of the Dockerfile: instructions with what follows them, and its variables."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def array(self, wanted: str) -> list[str]:
        """The command of an instruction in exec form."""
        (rest,) = (rest for instruction, rest in self.instructions if instruction == wanted)
        command: list[str] = json.loads(rest[rest.index("[") :])
        return command


def stages() -> list[Stage]:
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append(Stage(rest))
        elif instruction == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                found[-1].variables[name] = value
        elif instruction:
            found[-1].instructions.append((instruction, rest))
    return found


STAGES = stages()


def test_the_dockerfile_has_no_finding() -> None:
    linted = _output(venvs.interpreter("hadolint").parent / "hadolint", "deploy/Dockerfile")
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_image_is_pinned_confined_and_ends_by_signal() -> None:
    bases = {stage.base.partition(" ")[0] for stage in STAGES}
    assert len(bases) == 1  # the first stage's environment refers to the second's Python
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases.pop())
    instructions = dict(STAGES[-1].instructions)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions["USER"])
    assert STAGES[-1].array("ENTRYPOINT") == ["guardproxy"]  # no shell that would keep the signal to itself
    assert STAGES[-1].array("CMD") == ["serve"]
    assert "GUARDPROXY_HOST" not in STAGES[-1].variables  # only who runs it opens it
    assert instructions["EXPOSE"] == str(composed_settings().port)


def sent(path: Path) -> bool:
    """Whether .dockerignore lets a file of the repository be a part of what the image is built from."""
    passes = True
    for pattern in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if not pattern or pattern.startswith("#"):
            continue
        kept, pattern = pattern.startswith("!"), pattern.removeprefix("!").removeprefix("**/")
        ends = [str(path), *map(str, path.parents), path.name, *(parent.name for parent in path.parents)]
        if any(fnmatch(end, pattern) for end in ends if end not in ("", ".")):
            passes = kept
    return passes


def test_nothing_but_the_program_is_sent() -> None:
    for path in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "guardproxy/app.py",
        "plugins/guardproxy_pii/cards.py",
    ):
        assert sent(Path(path)), path
    for path in (".git/config", ".venv/bin/python", "tests/venvs.py", "guardproxy.toml", ".env", "uv.lock"):
        assert not sent(Path(path)), path
    assert not sent(Path("guardproxy/__pycache__/app.cpython-311.pyc"))


NO_NETWORK = """
import os, sys

def note(event, given):
    host = given[1][0] if event == "socket.connect" and isinstance(given[1], tuple) else None
    host = given[0] if event == "socket.getaddrinfo" else host
    if host not in (None, "127.0.0.1", "localhost"):
        with open(os.environ["REACHED_OUT"], "a") as out:
            out.write(f"{event} {host}\\n")

sys.addaudithook(note)
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What the Dockerfile builds, without Docker: its environment, and a folder for the rest."""

    bin: Path
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        given = environment(self.folder, REACHED_OUT=str(self.folder / "reached-out"), **more)
        return given | {"PATH": f"{self.bin}:{given['PATH']}"}

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / command[0], *command[1:]],
            input="Yesterday she met Barack Obama. Mail ada" + "@" + "example.org.",
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment(**more),
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The first stage's instructions, in folders of our own and with the cache of uv."""
    folder = tmp_path_factory.mktemp("image")
    context, made = folder / "build", folder / "made"
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT")
    given = {name: value for name, value in os.environ.items() if name not in dropped}
    given |= STAGES[0].variables | {"UV_PROJECT_ENVIRONMENT": str(made), "UV_PYTHON": sys.executable}
    given["UV_COMPILE_BYTECODE"] = "0"  # three times as quick, and the same files but for that
    context.mkdir()
    for instruction, rest in STAGES[0].instructions:
        words = shlex.split(rest)
        if instruction == "COPY":
            for source in words[:-1]:
                copied = context / (words[-1] if len(words) == 2 else source)
                _copy(ROOT / source, copied)
        elif instruction == "RUN" and words[0] == "uv":
            command = [word for word in words if word != "--no-cache"]
            built = subprocess.run(
                command, cwd=context, env=given, capture_output=True, text=True, check=False
            )
            assert built.returncode == 0, built.stderr
    (packages,) = made.glob("lib/*/site-packages")
    (packages / "sitecustomize.py").write_text(NO_NETWORK)
    held, reached = Image(made / "bin", folder), folder / "reached-out"
    held.run("python", "-c", "import sys; sys.audit('socket.connect', None, ('192.0.2.1', 443))")
    reached.unlink()  # it would have been noted
    yield held
    assert not reached.exists(), reached.read_text()


def _copy(source: Path, target: Path) -> None:
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    for path in files:
        if sent(path.relative_to(ROOT)):
            copied = target / path.relative_to(source) if path != source else target
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)


@pytest.mark.slow
def test_what_the_image_holds_checks_and_scans(image: Image) -> None:
    (check,) = (
        rest for instruction, rest in STAGES[-1].instructions if rest.startswith('["guardproxy", "config')
    )
    checked = image.run(*json.loads(check))
    assert (checked.returncode, checked.stdout) == (0, "ok\n")
    found = image.run("guardproxy", "scan", "-", "--format", "json")
    assert found.returncode == 1
    assert {"EMAIL_ADDRESS", "PERSON"} <= set(re.findall(r'"category": ?"(\w+)"', found.stdout))


@pytest.mark.slow
def test_what_the_image_holds_serves_tells_its_health_and_ends_by_signal(image: Image) -> None:
    shutil.copyfile(DEPLOY / "guardproxy.toml", image.folder / "guardproxy.toml")
    given = {name: value for name, value in variables("guardproxy").items() if name.startswith("GUARDPROXY_")}
    given |= {"GUARDPROXY_HOST": "127.0.0.1", "GUARDPROXY_PORT": "0"}
    command = [str(image.bin / STAGES[-1].array("ENTRYPOINT")[0]), *STAGES[-1].array("CMD")]
    health = STAGES[-1].array("HEALTHCHECK")
    with running(command, image.environment(**given), image.folder / "served.log", image.folder) as served:
        port = until("guardproxy", lambda: served.printed(r'"address": "http://127.0.0.1:(\d+)"'), 60)
        assert image.run(*health, GUARDPROXY_PORT=port).returncode == 0
        assert served.end() == 0
    assert image.run(*health, GUARDPROXY_PORT=port).returncode != 0
