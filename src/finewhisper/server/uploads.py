"""What a request sends: a form with a recording, read as far as it may go and kept in a file of our own naming."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from finewhisper.errors import UsageError
from finewhisper.files import storage_errors
from finewhisper.server.config import ServeConfig
from finewhisper.server.limits import limited_body

Options = TypeVar("Options", bound=BaseModel)

#: A form has one recording and few fields, none of them long: a prompt is at most some hundred words.
_MOST_FIELDS, _MOST_FIELD_BYTES = 64, 64 * 1024


@dataclass(frozen=True)
class Upload:
    """A recording and what came with it.

    Attributes:
        path: the recording, under a name that the client has no part in; it goes when the request ends.
        fields: the values of each field, those of the address first; ``name[]`` counts as ``name``.
    """

    path: Path
    fields: Mapping[str, tuple[str, ...]]

    def options(self, model: type[Options]) -> Options:
        """The fields as one checked value; fields that it does not know are passed over.

        Raises:
            UsageError: naming each field that is wrong.
        """
        many = {name for name, field in model.model_fields.items() if "tuple" in str(field.annotation)}
        values: dict[str, Any] = {name: given if name in many else given[-1] for name, given in self.fields.items()}
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise UsageError("; ".join(f"{'.'.join(map(str, e['loc'])) or 'form'}: {e['msg']}" for e in error.errors())) from None


@asynccontextmanager
async def received(request: Request, config: ServeConfig, name: str) -> AsyncIterator[Upload]:
    """Read a form whose field ``name`` is a recording.

    Raises:
        UsageError: it is no such form.
        TooLargeError: it is larger than the server takes.
        ClientGoneError: the client went away, or is too slow.
        StorageError: the disk does not hold it.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UsageError(f"send multipart/form-data with the recording in the field {name!r}")
    with storage_errors(Path(tempfile.gettempdir())):
        upload = await _stored(limited_body(request, config.upload_bytes, config.slowest_upload * 1000), name)
    try:
        yield upload
    finally:
        upload.path.unlink(missing_ok=True)


async def _stored(request: Request, name: str) -> Upload:
    """The form, once its recording is in a file of its own; the one that it was received into is gone then."""
    async with request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES) as form:
        sound = form.get(name)
        if not isinstance(sound, UploadFile):
            raise UsageError(f"the form has no file in the field {name!r}; send the recording there")
        handle, place = tempfile.mkstemp(prefix="finewhisper-upload-")
        try:
            await asyncio.to_thread(_copy, sound.file, handle)
        except BaseException:
            Path(place).unlink(missing_ok=True)
            raise
        return Upload(Path(place), _fields(request, form))


def _copy(sound: BinaryIO, handle: int) -> None:
    with os.fdopen(handle, "wb") as kept:
        shutil.copyfileobj(sound, kept, 1 << 20)


def _fields(request: Request, form: FormData) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, value in [*request.query_params.multi_items(), *form.multi_items()]:
        if isinstance(value, str) and value:  # browsers send what was left empty, too
            found.setdefault(name.removesuffix("[]"), []).append(value)
    return {name: tuple(values) for name, values in found.items()}
