"""Live captions: sound in as it is spoken, words out while it goes on.

:class:`finewhisper.serve.live.session.Session` turns sound into events and knows nothing of sockets, models or time; the rest of this
package brings it sound, lets an engine hear what it asks for, and sends what it says.
"""
