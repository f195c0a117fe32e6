"""API keys: who may ask."""

from __future__ import annotations

import hashlib
import hmac

from fastapi import Depends, Request, Security, params
from fastapi.security import HTTPBearer

from finewhisper.errors import UsageError
from finewhisper.server.config import ServeConfig
from finewhisper.server.errors import KeyRefusedError


class Keys:
    """The keys of a server; without any, everybody may ask."""

    def __init__(self, config: ServeConfig) -> None:
        keys = list(config.api_keys)
        if config.api_key_file is not None:
            try:
                lines = config.api_key_file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"--api-key-file: {config.api_key_file} cannot be read ({error})") from error
            keys += [line.strip() for line in lines if line.strip()]
            if not keys:
                raise UsageError(f"--api-key-file: {config.api_key_file} holds no key; write one a line")
        self._digests = [_digest(key) for key in keys]

    @property
    def needed(self) -> bool:
        return bool(self._digests)

    @property
    def dependencies(self) -> list[params.Depends]:
        """What a route has that asks for a key; where keys are needed, ``/docs`` says so and lets people enter one."""
        told = HTTPBearer(scheme_name="API key", description="One of the server's --api-keys.", auto_error=False)
        return [Depends(self.required), *([Security(told)] if self.needed else [])]

    def accepts(self, key: str) -> bool:
        """Whether a key is one of them; takes as long whichever it is and however much of it is right."""
        offered = _digest(key)
        matches = [hmac.compare_digest(offered, digest) for digest in self._digests]
        return any(matches) or not self._digests

    async def required(self, request: Request) -> None:
        """Let a request pass that brings a key. Raises: KeyRefusedError."""
        if not self.accepts(bearer(request)):
            raise KeyRefusedError('this server asks for an API key: send the header "Authorization: Bearer KEY"')


def bearer(request: Request) -> str:
    """The key that a request brings; "" where it brings none."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
