"""What a client is told: every error as a status, a kind and a sentence, in the shape that the API in question knows.

======================  ======  =====================
error                   status  kind
======================  ======  =====================
AudioError, UsageError  400     invalid_request_error
values in the address   400     invalid_request_error
KeyRefusedError         401     authentication_error
ForeignOriginError      403     permission_error
UnknownModelError       404     not_found_error
TooLargeError           413     invalid_request_error
ForeignHostError        421     invalid_request_error
BusyError               429     rate_limit_error
ClientGoneError         499     cancelled
any other               500     server_error
ClosingError            503     server_error
StorageError            507     server_error
======================  ======  =====================
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from finewhisper.audio import Seconds
from finewhisper.errors import AudioError, FinewhisperError, StorageError, UnsupportedError, UsageError


class TooLargeError(FinewhisperError):
    """More bytes or seconds than the server takes."""


class BusyError(FinewhisperError):
    """As much waits as the server takes.

    Attributes:
        retry_after_s: when it is worth asking again.
    """

    def __init__(self, message: str, retry_after_s: Seconds) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ClosingError(FinewhisperError):
    """The server ends and takes no new work."""


class KeyRefusedError(FinewhisperError):
    """No API key came along, or a wrong one."""


class ForeignHostError(FinewhisperError):
    """The server was asked for under a name that is not its own."""


class ForeignOriginError(FinewhisperError):
    """A page of another site asks, which may not."""


class UnknownModelError(FinewhisperError):
    """The server has no model of this name."""


class ClientGoneError(FinewhisperError):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Fault:
    """An error as clients see it."""

    status: int
    kind: str
    message: str
    retry_after_s: Seconds | None = None

    @property
    def code(self) -> str | None:
        """OpenAI's name of the error, where programs may look for it."""
        return {"authentication_error": "invalid_api_key", "not_found_error": "model_not_found"}.get(self.kind)


_KINDS: tuple[tuple[type[FinewhisperError], int, str], ...] = (
    (KeyRefusedError, 401, "authentication_error"),
    (ForeignOriginError, 403, "permission_error"),
    (ForeignHostError, 421, "invalid_request_error"),
    (UnknownModelError, 404, "not_found_error"),
    (TooLargeError, 413, "invalid_request_error"),
    (BusyError, 429, "rate_limit_error"),
    (ClientGoneError, 499, "cancelled"),
    (ClosingError, 503, "server_error"),
    (AudioError, 400, "invalid_request_error"),
    (UsageError, 400, "invalid_request_error"),
    (UnsupportedError, 400, "invalid_request_error"),
)


def fault(error: Exception) -> Fault:
    """What to tell a client of an error; of a defect, no more than that it is one."""
    if isinstance(error, HTTPException):
        return Fault(error.status_code, "invalid_request_error" if error.status_code < 500 else "server_error", str(error.detail))
    if isinstance(error, RequestValidationError):
        return Fault(400, "invalid_request_error", "; ".join(f"{wrong['loc'][-1]}: {wrong['msg']}" for wrong in error.errors()))
    for kind, status, name in _KINDS:
        if isinstance(error, kind):
            return Fault(status, name, str(error), error.retry_after_s if isinstance(error, BusyError) else None)
    if isinstance(error, StorageError):  # its message names folders of ours
        return Fault(507, "server_error", "the server's disk is full or cannot be written; come again later, or tell whoever runs it")
    if isinstance(error, FinewhisperError):
        return Fault(500, "server_error", str(error))
    return Fault(500, "server_error", "the server met an error of its own; its log has the details under this request's id")
