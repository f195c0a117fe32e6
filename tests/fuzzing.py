"""Damaged inputs, each made from a number, so that a failure names the one that brings it back.

The test run takes a sample; ``make fuzz`` (``FINEWHISPER_FUZZ=full``) takes all of them.
"""

from __future__ import annotations

import json
import os
import random
import struct
from typing import Any

FULL = os.environ.get("FINEWHISPER_FUZZ") == "full"

#: Numbers on which readers of binary files have stumbled: sizes that no memory holds, signs, and the ends of their ranges.
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def seeds(full: int, sample: int) -> range:
    """The numbers of the inputs to try: ``full`` of them in ``make fuzz``, the first ``sample`` otherwise."""
    return range(full if FULL else sample)


def damaged(content: bytes, random: random.Random) -> bytes:
    """A copy with one to four faults: bits flipped, a piece cut out, doubled, moved, zeroed or overwritten, the end cut off, numbers
    replaced by extreme ones, in the first kilobyte more often than elsewhere, as that is where headers are.
    """
    data = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if not data:
            break
        reach = min(len(data), 1024) if random.random() < 0.6 else len(data)
        at, length = random.randrange(reach), min(random.choice((1, 4, 16, 256, 4096)), len(data))
        fault = random.choice(("flip", "cut", "double", "zero", "noise", "end", "number", "move"))
        if fault == "flip":
            data[at] ^= 1 << random.randrange(8)
        elif fault == "cut":
            del data[at : at + length]
        elif fault == "double":
            data[at:at] = data[at : at + length]
        elif fault == "zero":
            data[at : at + length] = bytes(len(data[at : at + length]))
        elif fault == "noise":
            data[at : at + length] = random.randbytes(len(data[at : at + length]))
        elif fault == "end":
            del data[at:]
        elif fault == "number":
            number = struct.pack(random.choice("<>") + "Q", random.choice(_EXTREMES))[: random.choice((2, 4, 8))]
            data[at : at + len(number)] = number
        else:
            piece = data[at : at + length]
            del data[at : at + length]
            place = random.randrange(len(data) + 1)
            data[place:place] = piece
    return bytes(data)


#: What a reader of JSON may find in place of what it expects.
_ODD_VALUES: tuple[Any, ...] = (
    None, True, "", "x", "../../etc/passwd", 0, 1, -1, 7, 255, 51_900, 1 << 31, 1 << 63, -(1 << 40), 1e300, 0.5, float("nan"), [], [[]],
    [-1], [1 << 31], [[0, 99]], [["a", None]], {}, {"": {}}, {"a": [1, 2]},
)  # fmt: skip


def damaged_json(content: bytes, random: random.Random) -> bytes:
    """JSON with one to three values left out or replaced by odd ones, at any depth, near the top more often than below."""
    whole = json.loads(content)
    for _ in range(random.randint(1, 3)):
        place = whole
        while isinstance(place, dict | list) and place:
            key = random.choice(list(place)) if isinstance(place, dict) else random.randrange(len(place))
            if isinstance(place[key], dict | list) and place[key] and random.random() < 0.5:
                place = place[key]
                continue
            if random.random() < 0.2:
                del place[key]
            else:
                place[key] = random.choice(_ODD_VALUES)
            break
    return json.dumps(whole).encode()
