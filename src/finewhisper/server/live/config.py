"""What can be asked of live captions."""

from __future__ import annotations

from pydantic import Field

from finewhisper.live.config import CaptionConfig


class LiveConfig(CaptionConfig):
    """Live captions over WebSockets."""

    sockets: int = Field(256, ge=1)
    """Connections at a time; further ones are told to come again later."""
    session_s: float = Field(4 * 3600.0, gt=0)
    """Seconds of sound that one connection may send."""
    idle_s: float = Field(300.0, gt=0)
    """Seconds without a message after which a connection is closed."""
    frame_bytes: int = Field(1_048_576, ge=1024)
    """Bytes that one message may have."""
    buffer_s: float = Field(30.0, ge=1)
    """Seconds of speech that may wait for the engine; until there is room again, no more is read from that client."""
    send_timeout_s: float = Field(10.0, gt=0)
    """Seconds after which a client that does not read is dropped."""
