"""The files in deploy/: they name options that there are, the server's port and addresses, and time enough for it to end."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from finewhisper.cli import VERBS, parse
from finewhisper.server.config import ServeConfig
from finewhisper.server.run import LAST_BYTES_S
from finewhisper.server.sockets import affordable

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COMPOSED = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
COMPOSE = COMPOSED["services"]["finewhisper"]
DEPLOYMENT, SERVICE = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
POD = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "finewhisper.service", encoding="utf-8")
    return parser["Service"]


def instruction(name: str) -> str:
    """The last of its kind in the Dockerfile."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1]


def image() -> dict[str, str]:
    """The environment that the image sets, but for the path."""
    return dict(pair.split("=", 1) for pair in instruction("ENV").split() if not pair.startswith("PATH="))


def configured(command: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ServeConfig:
    """What the command line makes of a command in an environment."""
    for name in [name for name in os.environ if name.startswith("FINEWHISPER_SERVE_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    verb, *options = command
    config = parse(verb, VERBS[verb], options)
    assert isinstance(config, ServeConfig)
    return config


def test_the_image(monkeypatch: pytest.MonkeyPatch):
    config = configured(json.loads(instruction("CMD")), image(), monkeypatch)
    assert (config.host, config.model, config.log_format) == ("0.0.0.0", ("/model",), "json")
    assert instruction("EXPOSE") == str(config.port)
    assert f"http://127.0.0.1:{config.port}/healthz" in instruction("HEALTHCHECK")


def test_compose(monkeypatch: pytest.MonkeyPatch):
    defaults = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in COMPOSE["environment"].items()}
    config = configured(["serve"], image() | defaults, monkeypatch)
    assert (config.threads, config.api_keys) == (4, ())
    assert set(config.allowed_hosts) == set(COMPOSED["services"])  # what other containers call it, and what it has no keys for
    assert COMPOSE["ulimits"]["nofile"] >= open_files(config)
    assert COMPOSE["ports"] == [f"127.0.0.1:8000:{config.port}"]
    model, *kept = COMPOSE["volumes"]
    assert model.endswith(f":{config.model[0]}:ro")
    places = dict(volume.split(":") for volume in kept)
    assert config.jobs.folder is not None
    assert places == {"jobs": str(config.jobs.folder.parent), "uploads": "/tmp"}
    assert places.keys() == COMPOSED["volumes"].keys()
    assert f"--owner finewhisper --mode 700 {places['jobs']}" in DOCKERFILE
    assert seconds(COMPOSE["stop_grace_period"]) > longest_end_s(config)


def test_kubernetes(monkeypatch: pytest.MonkeyPatch):
    keys = {variable["name"]: "a-key" for variable in CONTAINER["env"]}
    config = configured(CONTAINER["args"], image() | keys, monkeypatch)
    assert (config.threads, config.api_keys) == (int(CONTAINER["resources"]["limits"]["cpu"]), ("a-key",))
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": config.port}]
    assert [mount["mountPath"] for mount in CONTAINER["volumeMounts"]] == [config.model[0], "/tmp"]
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}
    assert SERVICE["spec"]["selector"].items() <= DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()
    pause_s = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert POD["terminationGracePeriodSeconds"] > pause_s + longest_end_s(config)


def test_systemd(monkeypatch: pytest.MonkeyPatch):
    _, *command = shlex.split(unit()["ExecStart"])
    config = configured(command, {}, monkeypatch)
    assert config.host == "127.0.0.1"
    assert config.jobs.folder == Path("/var/lib") / unit()["StateDirectory"] / "jobs"
    assert int(unit()["TimeoutStopSec"]) > longest_end_s(config)
    assert int(unit()["LimitNOFILE"]) >= open_files(config)


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def open_files(config: ServeConfig) -> int:
    """How many files the server may have open at a time."""
    asked: list[int] = []
    affordable(config.connections, config.queue, lambda wanted: asked.append(wanted) or wanted)  # type: ignore[func-returns-value]
    return asked[0]


def longest_end_s(config: ServeConfig) -> float:
    """How long the server may take to end: what runs, the answers of what was given up, and their last bytes."""
    return config.shutdown_timeout + 2 * LAST_BYTES_S


def probes() -> list[dict[str, Any]]:
    return [probe["httpGet"] for name, probe in CONTAINER.items() if name.endswith("Probe")]


def test_probes_ask_addresses_that_need_no_key():
    """A key would have to stand in the file."""
    assert {probe["path"] for probe in probes()} == {"/healthz", "/readyz"}
    assert {probe["port"] for probe in probes()} == {"http"}
