"""Numerals: what is written to what is said, and what is deliberately left apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.scoring.numerals import read_aloud

READINGS = {
    "quantities": [
        ("29度", "二十九度"),
        ("105", "一百零五"),
        ("1010", "一千零一十"),
        ("10000", "一万"),
        ("100000000", "一亿"),
        ("200万", "二百万"),
        ("1.5万", "一点五万"),
        ("3.14", "三点一四"),
        ("0.50", "零点五零"),
        ("25.0", "二十五点零"),
        ("1,234", "一千二百三十四"),
        ("1,234,567", "一百二十三万四千五百六十七"),
        ("1,234.5", "一千二百三十四点五"),
        ("第2名", "第二名"),
        ("3、4个", "三、四个"),
    ],
    "full-width and other forms of digits": [
        ("３.１４", "三点一四"),
        ("２９度", "二十九度"),
        ("200０", "二千"),
        ("①", "一"),
        ("½", "二分之一"),
    ],
    "years are read digit by digit, spans of years are not": [
        ("1998年", "一九九八年"),
        ("2000年", "二零零零年"),
        ("98年", "九八年"),
        ("08年", "零八年"),
        ("1980年代", "一九八零年代"),
        ("80年代", "八十年代"),
        ("30年", "三十年"),
        ("10年", "十年"),
        ("1000年", "一千年"),
        ("5000年", "五千年"),
        ("2019-2020年", "二零一九到二零二零年"),
        ("2019年至2020年", "二零一九年至二零二零年"),
    ],
    "dates and times": [
        ("2024年12月5日", "二零二四年十二月五日"),
        ("2024-12-05", "二零二四年十二月五日"),
        ("2024/1/5", "二零二四年一月五日"),
        ("05月01日", "五月一日"),
        ("12:30", "十二点三十"),
        ("8:00", "八点"),
        ("8:05", "八点零五"),
        ("18:05:07", "十八点零五分零七秒"),
        ("9：30", "九点三十"),
        ("12:30-13:30", "十二点三十到十三点三十"),
    ],
    "percent, fractions, scores": [
        ("50%", "百分之五十"),
        ("50.5％", "百分之五十点五"),
        ("-5%", "负百分之五"),
        ("5‰", "千分之五"),
        ("5%-10%", "百分之五到百分之十"),
        ("1/2", "二分之一"),
        ("3:2", "三比二"),
    ],
    "signs and ranges": [
        ("-5度", "负五度"),
        ("零下5度", "零下五度"),
        ("5-6个", "五到六个"),
        ("3~5天", "三到五天"),
        ("3～5天", "三到五天"),
        ("GPT-4", "GPT-四"),
        ("3-5-2", "三-五-二"),
    ],
    "digit by digit": [
        ("13812345678", "一三八一二三四五六七八"),
        ("138-1234-5678", "一三八一二三四五六七八"),
        ("138 1234 5678", "一三八一二三四五六七八"),
        ("1381 2345678", "一三八一二三四五六七八"),
        ("12 34", "十二 三十四"),
        ("010-62345678", "零一零六二三四五六七八"),
        ("400-800-1234", "四零零八零零一二三四"),
        ("007", "零零七"),
        ("3.5.1", "三点五点一"),
        ("12345678901234567890", "一二三四五六七八九零一二三四五六七八九零"),
        ("10000000000000000000", "一零零零零零零零零零零零零零零零零零零零"),
    ],
    "beside Latin letters": [("A4纸", "A四纸"), ("iPhone15", "iPhone十五"), ("3D打印", "三D打印")],
    "units": [
        ("5℃", "五摄氏度"),
        ("5°C", "五摄氏度"),
        ("5°", "五度"),
        ("¥50", "五十元"),
        ("$3.5", "三点五美元"),
        ("$1,234", "一千二百三十四美元"),
        ("€3万", "三万欧元"),
    ],
    "one spelling of each numeral": [
        ("两个", "二个"),
        ("2个", "二个"),
        ("两百", "二百"),
        ("二〇二四年", "二零二四年"),
        ("幺三八", "一三八"),
        ("幺幺零", "一一零"),
    ],
    "no numeral": [("", ""), ("老幺", "老幺"), ("一些", "一些"), ("IV", "IV")],
}


@pytest.mark.parametrize(("written", "said"), [pair for pairs in READINGS.values() for pair in pairs])
def test_reading(written: str, said: str) -> None:
    assert read_aloud(written) == said


@pytest.mark.parametrize(
    ("one", "other"),
    [("110", "一一零"), ("2008", "二零零八"), ("3:30", "三点半"), ("50块", "50元"), ("一万五", "15000"), ("廿", "20"), ("贰", "2")],
)
def test_not_equated(one: str, other: str) -> None:
    """Where the text does not say which was spoken, the difference stays visible."""
    assert read_aloud(one) != read_aloud(other)


@given(st.text(alphabet="0123456789.,:-/~%°C年月日点两幺¥$aB \u3000"))
def test_no_digit_is_left_and_a_second_reading_changes_nothing(text: str) -> None:
    said = read_aloud(text)
    assert not any(character.isdecimal() for character in said)
    assert read_aloud(said) == said


@given(st.integers(min_value=1, max_value=999_999))
def test_quantities_read_back(number: int) -> None:
    import cn2an

    assert cn2an.cn2an(read_aloud(str(number)), "smart") == number
