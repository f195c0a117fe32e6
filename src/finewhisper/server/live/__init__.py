"""Live captions over WebSockets: they bring sound to a :class:`finewhisper.live.session.Session` and send what it says."""
