"""Arabic numerals as a Mandarin speaker reads them, so that "29度" and "二十九度" are the same words.

A transcript writes digits, a reference what was said. cn2an turns one number into characters; which of a number's readings is meant
is decided here, from what stands around it:

==========================  ==================  =====================================================================
written                     read                rule
==========================  ==================  =====================================================================
105 · 1,234 · 3.14          一百零五 …          a quantity; commas between thousands are dropped
1998年 · 98年 · 08年        一九九八年 …        a year is read digit by digit (1001–2999, 51–99 not ending in 0, 01–09)
2024-12-05 · 8:05           …年…月…日 · 八点零五  a date, a time of day; "8:00" is 八点
3:2 · 1/2 · 50% · -5        三比二 · 二分之一 …  a score, a fraction, 百分之…, 负…
5-6 · 3~5                   五到六              a range
13812345678 · 007 · 3.5.1   一三八… · 零零七 …  telephone and other long numbers, leading zeros and versions: digit by digit
5℃ · ¥50 · $3.5万           五摄氏度 · 五十元 …  the unit is read after the number
==========================  ==================  =====================================================================

Of the spellings of one numeral 两 becomes 二, 〇 becomes 零, and 幺 beside other digits becomes 一. Not equated, because the text does
not say which was spoken: 110 as 一一零, a year without 年, "三点三十分" and "三点半" with 3:30, 块 with 元, 一万五 with 一万五千.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from re import Match

_DIGITS = dict(zip("0123456789.", "零一二三四五六七八九点", strict=True))
_CURRENCIES = {"¥": "元", "$": "美元", "€": "欧元", "£": "英镑"}
#: At most twelve groups of thousands: a text of nothing else would take time with its square.
_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,12}(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
#: More digits than this without a comma are a telephone or account number, unless they end in 0000.
_LONGEST_QUANTITY = 6
#: The most digits that cn2an has units for.
_LONGEST_CONVERTIBLE = 16


def read_aloud(text: str) -> str:
    """Chinese text with every Arabic numeral in characters (NFKC, so that full-width digits and ℃ are covered)."""
    text = unicodedata.normalize("NFKC", text)
    if any(character in "0123456789" for character in text):
        for pattern, reading in _RULES:
            text = pattern.sub(reading, text)
    return _one_spelling(text)


def _one_spelling(text: str) -> str:
    text = text.replace("两", "二").replace("〇", "零")
    return re.sub("[零一二三四五六七八九幺]{2,}", lambda match: match[0].replace("幺", "一"), text)


def _digits(number: str) -> str:
    """Digit by digit."""
    return "".join(_DIGITS.get(character, "") for character in number)


def _quantity(number: str) -> str:
    """As a quantity; digit by digit where it cannot be one."""
    import cn2an  # a quarter of a second to import

    grouped, _, decimals = number.partition(".")
    whole = grouped.replace(",", "")
    long = len(whole) > _LONGEST_QUANTITY and whole == grouped and not whole.endswith("0000")
    if long or len(whole) > _LONGEST_CONVERTIBLE or (whole.startswith("0") and len(whole) > 1):
        return _digits(number)
    return str(cn2an.an2cn(whole, "low")) + (_DIGITS["."] + _digits(decimals) if decimals else "")


def _grouped(match: Match[str]) -> str:
    """Groups of digits between spaces are one telephone number where they are too long for a quantity."""
    return _digits(match[0]) if len(match[0].replace(" ", "")) > _LONGEST_QUANTITY else match[0]


def _date(match: Match[str]) -> str:
    year, month, day = match.groups()
    return f"{_digits(year)}年{_quantity(str(int(month)))}月{_quantity(str(int(day)))}日"


def _calendar(match: Match[str]) -> str:
    """A month or a day of the month: "05月" is 五月."""
    return _quantity(str(int(match[1])))


def _time(match: Match[str]) -> str:
    hour, minute, second = match.groups()
    minutes = "" if minute == "00" and not second else _clock(minute)
    return f"{_quantity(str(int(hour)))}点{minutes}" + (f"分{_clock(second)}秒" if second else "")


def _clock(two_digits: str) -> str:
    return (_DIGITS["0"] if two_digits.startswith("0") and two_digits != "00" else "") + _quantity(str(int(two_digits)))


def _share(match: Match[str]) -> str:
    sign, number, unit = match.groups()
    return ("负" if sign else "") + ("百" if unit == "%" else "千") + "分之" + _quantity(number)


def _money(match: Match[str]) -> str:
    return _quantity(match[2]) + match[3] + _CURRENCIES[match[1]]


def _rule(pattern: str, reading: Callable[[Match[str]], str]) -> tuple[re.Pattern[str], Callable[[Match[str]], str]]:
    return re.compile(pattern), reading


#: In this order: what a rule has read holds no digits any more, so a later rule leaves it alone. None starts within digits that it has
#: tried from their first: a text of digits alone would take time with their square.
_RULES = (
    _rule(r"(?<![0-9])1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}(?![0-9])", lambda match: _digits(match[0])),
    _rule(r"(?<![0-9.])[0-9]+(?: [0-9]+)+(?![0-9.])", _grouped),
    _rule(r"(?<![0-9-])(?:[0-9]{3,4}-[0-9]{7,8}|[0-9]{3,4}-[0-9]{3,4}-[0-9]{4})(?![0-9-])", lambda match: _digits(match[0])),
    _rule(r"(?<![0-9])([12][0-9]{3})[-/.]([01]?[0-9])[-/.]([0-3]?[0-9])(?![0-9])", _date),
    _rule(r"(?<![0-9.])(?!1000)[12][0-9]{3}(?=(?:[-~–—至到][12][0-9]{3})?年)", lambda match: _digits(match[0])),
    _rule(r"(?<![0-9.])(?:0[0-9]|[5-9][1-9])(?=年)", lambda match: _digits(match[0])),
    _rule(r"(?<![0-9.])(0[0-9])(?=[月日号])", _calendar),
    _rule(r"(?<=[0-9])[-~–—](?=[0-9]{1,2}:[0-5][0-9])", lambda _: "到"),
    _rule(r"(?<![0-9:])([01]?[0-9]|2[0-4]):([0-5][0-9])(?::([0-5][0-9]))?(?![0-9:])", _time),
    _rule(rf"(?<=[0-9]):(?={_NUMBER})", lambda _: "比"),
    _rule(rf"(?<![0-9A-Za-z.-])({_NUMBER}%?)[-~–—](?={_NUMBER}%?(?![0-9A-Za-z-]))", lambda match: f"{match[1]}到"),
    _rule(r"(?<=[年零一二三四五六七八九])[-~–—](?=[零一二三四五六七八九]{4}年)", lambda _: "到"),
    _rule(rf"(?:(?<![0-9A-Za-z])(-)|(?<![0-9]))({_NUMBER})\s*([%‰])", _share),
    _rule(rf"([¥$€£])\s*({_NUMBER})([万亿]*)", _money),
    _rule(rf"(?<![0-9A-Za-z])-(?={_NUMBER})", lambda _: "负"),
    _rule(r"(?<=[0-9])\s*°\s*[Cc](?![A-Za-z])", lambda _: "摄氏度"),
    _rule(r"(?<=[0-9])\s*°", lambda _: "度"),
    _rule(r"(?<![0-9])([0-9]+)[/⁄]([0-9]+)", lambda match: f"{_quantity(match[2])}分之{_quantity(match[1])}"),
    _rule(r"(?<![0-9])[0-9]+(?:\.[0-9]+){2,}", lambda match: _digits(match[0])),
    _rule(_NUMBER, lambda match: _quantity(match[0])),
)
