"""``finewhisper`` with an engine that hears "hello" in everything: what is tried is the server, not the model."""

from __future__ import annotations

import sys

from finewhisper.cli import main
from finewhisper.engines.fake import FakeEngine
from finewhisper.server import service

service.load_engine = lambda *_, **__: FakeEngine("hello")  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())
