"""What can be asked of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from finewhisper.config import Config, Flag


class JobsConfig(Config):
    """Recordings that are handed in now and asked for later."""

    folder: Annotated[Path | None, Flag(role="place")] = None
    """Folder that keeps jobs and their recordings over restarts; without one the server takes no jobs."""
    together: int = Field(2, ge=1)
    """Jobs that are worked on at a time, beside all other requests."""
    most: int = Field(1000, ge=1)
    """Jobs that may wait; further ones are told to come again later."""
    most_megabytes: int = Field(20_000, ge=1)
    """Megabytes that the recordings of waiting jobs may have."""
    keep_hours: float = Field(168.0, gt=0)
    """Hours after which a finished job is forgotten."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts that a result may be sent to though their addresses are private, such as intranet.example; others must be public."""
    webhook_tries: int = Field(5, ge=1, le=20)
    """How often a result is offered to an address that does not take it, each time after twice the pause."""
    webhook_timeout: float = Field(10.0, gt=0)
    """Seconds that one try may take."""
