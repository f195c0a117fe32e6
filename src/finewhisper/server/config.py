"""What ``finewhisper serve`` can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from finewhisper.config import Flag
from finewhisper.server.jobs.config import JobsConfig
from finewhisper.server.live.config import LiveConfig
from finewhisper.shared_options import EngineOptions


class ServeConfig(EngineOptions):
    """One process, one model in memory for all clients; windows of all requests share batches.

    The first model is loaded at once and answers requests that name none; others are loaded when they are asked for. The server
    listens on this machine only unless --host says otherwise; where others can reach it, set --api-keys.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Common": ("model", "host", "port", "device", "precision", "threads", "batch_size"),
        "Access": ("api_keys", "api_key_file", "allowed_hosts", "cors_origins"),
        "Bounds": ("max_upload", "max_duration", "queue"),
        "Jobs": ("jobs.folder",),
    }

    model: Annotated[tuple[str, ...], Flag(alias="-m")]
    """Folders of models, each as FOLDER or NAME=FOLDER; the name is the folder's unless given."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every address of this machine."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""

    batch_size: int = Field(8, ge=1)
    """Windows of 30 s decoded together, and up to four times as many shorter ones; fewer let short requests sooner in."""
    unload_after: float = Field(0.0, ge=0)
    """Seconds without a request after which a model is unloaded; 0 keeps it."""

    queue: int = Field(64, ge=1)
    """Requests that are received, worked on or wait; further ones are told to come again later."""
    connections: int = Field(512, ge=1)
    """Sockets that may be open at a time, live ones included; beyond that, those without a request are closed first."""
    header_timeout: float = Field(20.0, gt=0)
    """Seconds in which the headers of a request have to come in."""
    max_upload: int = Field(512, ge=1)
    """Megabytes that one request may send."""
    slowest_upload: float = Field(8.0, ge=0)
    """Kilobytes a second in which a recording has to come in, on average after its first minute; slower clients are dropped."""
    max_duration: float = Field(4 * 3600.0, gt=0)
    """Seconds that one recording may last."""
    shutdown_timeout: float = Field(30.0, ge=0)
    """Seconds that running requests and live sockets are given to finish when the server is told to end."""

    api_keys: tuple[str, ...] = ()
    """Keys of which a request must bring one, as "Authorization: Bearer KEY"; without any, everybody may ask."""
    api_key_file: Path | None = None
    """File with such keys, one a line; keys on a command line can be seen by other users of this machine."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which a server without keys answers, beside localhost, its own names and addresses in digits; .example.org is every name
    below it, * is any."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the server from a browser, such as https://example.org; * is any."""

    log_format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line."""

    live: LiveConfig = LiveConfig()
    jobs: JobsConfig = JobsConfig()

    @field_validator("model")
    @classmethod
    def _distinct_models(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if not models:
            raise ValueError("name at least one model folder")
        names = [_named(model)[0] for model in models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are called {', '.join(twice)}; give them names: NAME=FOLDER")
        return models

    @field_validator("api_keys")
    @classmethod
    def _real_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not all(key.strip() for key in keys):
            raise ValueError("an empty key would let everybody in; leave it out")
        return keys

    @property
    def folders(self) -> dict[str, Path]:
        """The models' folders by name, in the order given."""
        return dict(map(_named, self.model))

    @property
    def upload_bytes(self) -> int:
        return self.max_upload * 1_000_000


def _named(model: str) -> tuple[str, Path]:
    name, separator, folder = model.partition("=")
    if separator and name and folder and not Path(model).exists():  # a path may have an = in it, such as runs/lr=1e-5/model
        return name, Path(folder)
    return Path(model).resolve().name, Path(model)
