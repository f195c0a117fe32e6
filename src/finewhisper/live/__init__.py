"""Live captions: samples in as they are spoken, words out while the speaker goes on.

:class:`finewhisper.live.session.Session` turns samples into events and knows nothing of models, sockets or time;
:class:`finewhisper.live.stream.Stream` drives one with a model, and the server drives hundreds over WebSockets.
"""
