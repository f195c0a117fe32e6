"""Any audio to a transcript: voice activity, windows, batching and finishing around one engine.

:class:`finewhisper.transcription.transcriber.Transcriber` is the one thing that the command line, evaluation and servers call, so that
what is measured is what is served.
"""
