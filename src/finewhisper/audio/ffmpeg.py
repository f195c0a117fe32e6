"""Any audio or video file through FFmpeg, packet by packet, in the file's own time."""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from finewhisper.audio import notices as told
from finewhisper.audio.constants import Seconds, Waveform
from finewhisper.audio.notices import Notice
from finewhisper.audio.sources import CHECKSUM_AT, Part, Pick
from finewhisper.audio.timeline import Timeline
from finewhisper.errors import AudioError, CutShortError
from finewhisper.resampling import FloatScale, Mixer, are_numbers

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream, Packet
    from av.container import InputContainer

FORMATS_STEP = "give a WAV, FLAC, MP3, OGG, Opus, M4A or WebM file"

#: Containers whose header states how long they are; of the others FFmpeg estimates it from the bit rate or the last stamps.
_STATING = {
    "wav",
    "w64",
    "aiff",
    "caf",
    "au",
    "flac",
    "ogg",
    "mp3",
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "flv",
    "asf",
    "ape",
    "wv",
    "tta",
}
#: Containers whose times count from zero, as players show them, and not from whatever comes first.
_FROM_ZERO = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
#: A recording that begins later than this, with nothing before it, was cut out of a longer one or of a stream.
_LATEST_START_S: Seconds = 60.0
_SEEK_MARGIN_S: Seconds = 1.0  # FFmpeg lands near the place, and a lossy decoder needs some packets to settle
_SLACK_S: Seconds = 0.25  # lossy formats lose up to a few frames at either end; more than this is damage
_SNAP_S: Seconds = 0.06  # a start this late is rounding or the encoder's delay
#: Time stamps are not in these files: FFmpeg counts the packets, of which a damaged one may be several.
_COUNTED = {"mp3", "aac", "amr", "ac3", "eac3"}
_MOST_FAULTS = 100  # in a row, after which nothing is expected of a file any more
_TOGETHER = 32  # frames that are handed on at once
_AV_TIME_BASE = 1_000_000

#: Mono samples at a rate, and the time of the first one in its file.
Stretch = tuple[Seconds, Waveform, int]


class _Seekable:
    """A binary stream as FFmpeg expects one: seeking to a place that a damaged header names is an answer, not an exception."""

    def __init__(self, stream: BinaryIO, suffix: str) -> None:
        self.read, self.tell, self._seek = stream.read, stream.tell, stream.seek
        self.name = f"audio{suffix}"  # the ending helps to tell the format

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new place, or FFmpeg's number for an impossible one."""
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL


@cache
def _audio_decoders() -> str:
    """FFmpeg's names of all decoders for sound, comma-separated."""
    import av

    names = []
    for name in sorted(av.codecs_available):
        try:
            if av.Codec(name, "r").type == "audio":
                names.append(name)
        except av.codec.codec.UnknownCodecError:  # it can only be written
            continue
    return ",".join(names)


@contextmanager
def opened(part: Part) -> Iterator[InputContainer]:
    """The file through FFmpeg.

    FFmpeg gets the open file and may open nothing else: a playlist would have it read others, wherever it names them. Nor may it decode
    pictures, which it would do to learn more about a film or a cover: a picture of some kilobytes can take all memory.
    """
    import av  # a quarter of a second to import, and only some formats need it

    options = {"protocol_whitelist": "none", "codec_whitelist": _audio_decoders()}
    try:
        with (
            part.open() as source,
            av.open(_Seekable(source, part.suffix), options=options, metadata_errors="ignore") as container,
        ):
            yield container
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{part.name}: cannot be decoded as audio ({reason}); {FORMATS_STEP}") from error


def track(container: InputContainer, pick: Pick, name: str, notices: list[Notice]) -> AudioStream:
    """The audio stream that is wanted. Raises: AudioError: there is none."""
    tracks = list(container.streams.audio)
    if not tracks:
        raise AudioError(f"{name}: has no audio track; give a file with sound")
    listed = [f"{number} ({stream.language})" if stream.language else str(number) for number, stream in enumerate(tracks)]
    if pick.track:
        wanted = pick.track.strip().lower()
        fitting = [s for number, s in enumerate(tracks) if wanted in {str(number), (s.language or "").lower()}]
        if not fitting:
            raise AudioError(f"{name}: has no audio track {pick.track!r}; choose of these: {', '.join(listed)}")
    else:
        fitting = tracks
    known = [stream for stream in fitting if stream.codec_context is not None]
    if not known:
        raise AudioError(f"{name}: its sound is of a kind that cannot be decoded, or the file is damaged; {FORMATS_STEP}")
    if len(tracks) > 1 and not pick.track:
        notices.append(told.tracks(listed, tracks.index(known[0])))
    return known[0]


def _start_s(stream: Any) -> Seconds:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _origin_s(container: InputContainer, stream: AudioStream, part: Part) -> Seconds:
    """The time stamp at which the file begins.

    Sound that starts later than the picture, or later than zero where the container counts from there, starts late; so does that of an
    Ogg file whose first pages are lost.
    """
    from av.stream import Disposition

    own_s = _start_s(stream)
    timed = [*container.streams.video, *container.streams.audio]
    starts = [_start_s(other) for other in timed if other.start_time is not None and not other.disposition & Disposition.attached_pic]
    first_s = min([own_s, *starts])
    if (container.format.name in _FROM_ZERO or not part.intact) and 0 <= first_s <= _LATEST_START_S:
        first_s = 0.0
    return own_s if own_s - first_s < _SNAP_S else first_s


def _promised_s(container: InputContainer, stream: AudioStream, part: Part, origin_s: Seconds) -> Seconds | None:
    """Where the header says that the sound ends; None where FFmpeg only estimates it."""
    if container.format.name not in _STATING or (container.format.name == "mp3" and not _mp3_states_all(part)):
        return None
    if stream.duration and stream.time_base:
        in_ogg = container.format.name == "ogg" and stream.codec_context.name in ("opus", "libopus")  # there the "duration" is the end
        return (0.0 if in_ogg else _start_s(stream)) + float(stream.duration * stream.time_base) - origin_s
    if container.duration and len(container.streams) == 1:  # WebM states one length for the file, that of its longest track
        return container.duration / _AV_TIME_BASE - origin_s
    return None


def _mp3_states_all(part: Part) -> bool:
    """Whether an MP3's table of contents is there and speaks of the whole file, not of the first of several."""
    found = re.search(rb"(?:Xing|Info)(.{4})(.{8})", head := part.head, re.DOTALL)
    if found is None:
        return b"VBRI" in head
    flags = int.from_bytes(found[1], "big")
    if flags & 3 != 3:
        return True
    stated = int.from_bytes(found[2][4:], "big")
    return part.size - found.start() < 1.05 * stated + 4096


def length_s(part: Part) -> Seconds:
    """How long the sound is, from the header where that says so, else from its packets. Raises: AudioError."""
    import av

    with opened(part) as container:
        stream = track(container, Pick(), part.name, [])
        origin_s = _origin_s(container, stream, part)
        promised_s = _promised_s(container, stream, part, origin_s)
        if promised_s is not None:
            return promised_s
        timeline, base = Timeline(0.0, part.size), stream.time_base or 0
        try:
            for packet in container.demux(stream):
                if packet.size:
                    stamp_s = None if packet.pts is None else float(packet.pts * base) - origin_s
                    timeline.place(stamp_s, float((packet.duration or 0) * base))
        except av.FFmpegError:
            pass  # what is there counts
    return timeline.now_s


def channels(part: Part, pick: Pick) -> int:
    """How many channels the sound has. Raises: AudioError."""
    with opened(part) as container:
        return track(container, pick, part.name, []).codec_context.channels


def stretches(
    part: Part, start_s: Seconds, end_s: Seconds | None, pick: Pick, notices: list[Notice], *, keep_cut: bool
) -> Iterator[Stretch]:
    """Decode from shortly before ``start_s`` to shortly after ``end_s``; the first stretch begins at ``start_s`` or before.

    Args:
        notices: what is told is added here, at the end.
        keep_cut: use what there is of a file that was cut short, and tell.

    Raises:
        AudioError: nothing can be decoded, or most of it cannot.
        CutShortError: it ends before its header says, and before the slice does.
    """
    with opened(part) as container:
        stream = track(container, pick, part.name, notices)
        origin_s = _origin_s(container, stream, part)
        promised_s = _promised_s(container, stream, part, origin_s)
        sought = start_s > _SEEK_MARGIN_S
        if sought and not _sought(container, stream, origin_s + start_s - _SEEK_MARGIN_S):
            reading = None
        else:
            reading = _Reading(container, stream, part, pick, origin_s, start_s if sought else 0.0, sought, promised_s)
            yield from reading.stretches(end_s)
    if reading is None:  # this kind of file can only be read from its beginning
        yield from stretches(part, 0.0, end_s, pick, notices, keep_cut=keep_cut)
        return
    timeline = reading.timeline
    whole = not (reading.ended_early or sought)
    told_of = [
        timeline.holes and told.holes(timeline.holes),
        reading.pages and told.pages(reading.pages),
        reading.damaged and told.damaged(reading.damaged),
    ]
    notices += [notice for notice in told_of if notice]
    if whole and not part.intact and not any(told_of):
        notices.append(told.lost_pages())
    notices += told.of_samples(reading.mixer.opposed, None if reading.scale is None else reading.scale.bits)
    if timeline.jumps:
        notices.append(told.jumps(timeline.jumps))
    if reading.ended_early or reading.joined:
        return
    if promised_s is None or timeline.now_s >= min(promised_s, promised_s if end_s is None else end_s) - _SLACK_S:
        promised_s = None
    if promised_s is not None or not part.ended:
        error = CutShortError(part.name, timeline.now_s, promised_s)
        if not keep_cut:
            raise error
        notices.append(told.cut(error))


def _sought(container: InputContainer, stream: AudioStream, place_s: Seconds) -> bool:
    """Go near a place; False where the file does not allow it, and is then read from its beginning."""
    import av

    if not stream.time_base:
        return False
    try:
        container.seek(int(place_s / stream.time_base), stream=stream)
    except (av.FFmpegError, OverflowError):
        return False
    return True


def _merged(stretches: list[Stretch]) -> Iterator[Stretch]:
    """Frames of one rate as one stretch: each costs as much as a long one on its further way."""
    for rate, some in itertools.groupby(stretches, key=lambda stretch: stretch[2]):
        found = list(some)
        yield found[0][0], np.concatenate([samples for _, samples, _ in found]), rate


class _Reading:
    """One way through a file."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        part: Part,
        pick: Pick,
        origin_s: Seconds,
        first_s: Seconds,
        sought: bool,
        promised_s: Seconds | None,
    ) -> None:
        self.container, self.stream, self.part, self.origin_s, self.promised_s = container, stream, part, origin_s, promised_s
        self.timeline = Timeline(first_s, part.size, None if promised_s is None else promised_s + _SLACK_S, begun=not part.intact)
        self.damaged: list[Seconds] = []
        self.pages: list[Seconds] = []  #: that were repaired
        self.frames = 0
        self.joined = False  #: of parts with different rates or clocks: no header then tells how long all of it is
        self.ended_early = False  #: at the end of the slice
        self.mixer = Mixer(pick.channel, part.name)
        self.scale = FloatScale(part.name) if stream.codec_context.name.startswith("pcm_f") else None
        self._sought = sought
        self._bytes = 0  # of the packets that were decoded
        self._rate: int | None = None
        self._repaired = {place - CHECKSUM_AT - part.first for place, _ in part.repairs}

    def stretches(self, end_s: Seconds | None) -> Iterator[Stretch]:
        held: list[Stretch] = []  # what lies beyond the end that the header states: the padding of the last frame, unless there is more
        for frame in self._decoded():
            held += self._placed(frame)
            now_s, promised_s = self.timeline.now_s, self.promised_s
            if len(held) >= _TOGETHER and (promised_s is None or not promised_s < now_s < promised_s + _SLACK_S):
                yield from _merged(held)
                held = []
            if end_s is not None and self.timeline.now_s > end_s:
                self.ended_early = True
                break
        padded = self.promised_s is not None and not self.joined and self.timeline.now_s < self.promised_s + _SLACK_S
        for at_s, samples, rate in _merged(held):
            limit = max(round(((self.promised_s or 0.0) - at_s) * rate), 0) if padded else len(samples)
            yield at_s, samples[:limit], rate
        if padded and not self.part.intact and self._rate is not None and not self.ended_early:  # pages at the end are lost
            at_s = self.timeline.now_s
            yield at_s, np.zeros(round(self.timeline.place(self.promised_s, 0.0) * self._rate), np.float32), self._rate

    def _placed(self, frame: AudioFrame) -> Iterator[Stretch]:
        rate = frame.sample_rate
        if not 0 < rate < 1 << 31:
            return
        samples = self.mixer.frame(frame) if self.scale is None else self.scale(self.mixer.frame(frame))
        if not are_numbers(samples):
            self._skip()
            return
        stamp_s = None if frame.time is None else frame.time - self.origin_s
        timeline = self.timeline
        if self._sought and stamp_s is not None:  # where the decoder landed
            timeline.now_s, self._sought = min(stamp_s, timeline.now_s), False
        at_s = timeline.now_s
        silence = round(timeline.place(stamp_s, len(samples) / rate) * rate)
        self.joined = self.joined or timeline.anew or self._rate not in (None, rate)
        self._rate = rate
        self.frames += 1
        if silence:
            yield at_s, np.zeros(silence, np.float32), rate
        yield timeline.now_s - len(samples) / rate, samples, rate

    def _skip(self, packet: Packet[Any] | None = None) -> None:
        """Pass over a packet; where the header tells the whole length, its bytes tell how much sound was in it."""
        self.damaged.append(self.timeline.now_s)
        uncounted_s = 0.0
        if packet is not None and self._bytes and self.promised_s is not None and self.container.format.name in _COUNTED:
            was_s = packet.size * self.timeline.now_s / self._bytes
            uncounted_s = max(was_s - float((packet.duration or 0) * (packet.time_base or 0)), 0.0)
        self.timeline.skipped(uncounted_s)

    def _decoded(self) -> Iterator[AudioFrame]:
        """All frames that can be decoded. Raises: AudioError: most of the packets cannot."""
        import av

        reason: av.FFmpegError | None = None
        for packet in self._packets():
            if packet.pos in self._repaired:
                self._repaired.remove(packet.pos)
                self.pages.append(self.timeline.now_s)
            try:
                yield from packet.decode()
                self._bytes += packet.size
            except av.EOFError:
                return
            except av.FFmpegError as error:
                reason = error
                self._skip(packet)
        if len(self.damaged) > self.frames:
            at_s = self.damaged[0]
            why = f" ({reason.strerror})" if reason is not None else ""
            raise AudioError(f"{self.part.name}: is damaged after {at_s:.2f} s{why}; copy or record it again")

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        """All packets that can be told apart, also behind those that cannot."""
        import av

        faults = 0
        while faults < _MOST_FAULTS:
            try:
                for packet in self.container.demux(self.stream):
                    faults = 0
                    yield packet
                return
            except av.EOFError:
                return
            except av.FFmpegError:
                faults += 1
                if faults == 1:
                    self._skip()
