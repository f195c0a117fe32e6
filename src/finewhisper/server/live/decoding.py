"""What a session wants to have heard, asked of the server's models."""

from __future__ import annotations

from dataclasses import replace

from finewhisper.errors import UnsupportedError
from finewhisper.live.session import Work
from finewhisper.server.service import RequestOptions, Service
from finewhisper.transcript import DecodeOptions, Transcript


class SessionDecoder:
    """Hears for one session.

    Args:
        requested: what the client asked for.
    """

    def __init__(self, service: Service, requested: RequestOptions) -> None:
        self._service = service
        self.ask(requested)

    def ask(self, requested: RequestOptions) -> None:
        """From now on, something else is asked for."""
        self._requested = replace(requested, urgent=True, word_timestamps=True, vad=False)  # only stretches of speech come here

    async def hear(self, work: Work) -> Transcript:
        """A final text as any request for that stretch would get it, or a hypothesis in as short a context as will do.

        Where the engine tells no times of words, there are none in the transcript.

        Raises:
            FinewhisperError: as :meth:`finewhisper.server.service.Service.transcript`.
        """
        requested = replace(self._requested, draft=work.draft)
        if work.draft:  # it is shown for a moment: as fast as can be
            requested = replace(requested, beam_size=DecodeOptions.beam_size, vad=False)
        try:
            return await self._service.transcript(work.waveform, requested)
        except UnsupportedError:
            if not self._requested.word_timestamps:
                raise
            self._requested = replace(self._requested, word_timestamps=False)
        return await self.hear(work)
