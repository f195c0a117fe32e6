"""How text is compared: what each step does, and what each language equates."""

from __future__ import annotations

import random
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.errors import UsageError
from finewhisper.language import LANGUAGES
from finewhisper.scoring.text import STEPS, Normalizer

BY_STEP = {
    "basic": [
        ("Mr. Quilter's  manner!", "mr quilter s manner "),
        ("[music] Hello <noise> (laughs) there", " hello there"),
        ("Café, ŒUVRE", "café œuvre"),
        ("Здравей, свят!", "здравей свят "),
        ("ﬁne ＡＢＣ", "fine abc"),
    ],
    "english": [("Let's colour twenty-one of the centre's walls", "let us color 21 of the center is walls")],
    "simplified": [("臺灣的後面", "台湾的后面"), ("皇后", "皇后"), ("乾隆皇帝", "乾隆皇帝"), ("ABC 后", "ABC 后")],
    "numerals": [("设定29度", "设定二十九度")],
    "turkish": [("IŞIK İstanbul", "ıŞıK istanbul")],
    "unpointed": [("العَرَبِيَّة", "العربية"), ("שָׁלוֹם", "שלום"), ("محـــمد", "محمد"), ("آب", "آب"), ("café", "café")],
    "brackets": [("[a] b <c> (d) e", " b   e"), ("f(x", "f(x"), ("( )", "")],
    "lower": [("ＡＢＣ Ü", "abc ü"), ("ΟΔΟΣ", "οδος")],
    "punctuation": [("a,b-c$d", "a b c d"), ("हिन्दी।", "हिन्दी "), ("замо́к!", "замо́к ")],
    "spaces": [("  a \t b\u3000c\u200b d ", "a b c d"), ("\ufeffa", "a")],
    "no_spaces": [(" 一 \u3000二\u200b三\n", "一二三")],
}  # fmt: skip

#: For each language: texts that say the same.
SAME = {
    "bg": [("Здравей, свят!", "здравей свят")],
    "en": [("Mr. Quilter's", "mr quilter s")],
    "zh": [
        ("設定29度。", "设定二十九度"),
        ("我 愛 你", "我爱你"),
        ("用 iPhone 15", "用ＩＰＨＯＮＥ十五"),
        ("2024年12月5日,50%", "二〇二四年十二月五日，百分之五十"),
        ("兩個人", "2个人"),
    ],
    "yue": [("廣東話", "广东话")],
    "ja": [("ﾃｽﾄ、です。", "テストです")],
    "th": [("สวัสดี ครับ", "สวัสดีครับ")],
    "km": [("ភាសា\u200bខ្មែរ", "ភាសាខ្មែរ")],
    "hi": [("हिन्दी, भाषा।", "हिन्दी भाषा")],
    "ar": [("العَرَبِيَّةُ!", "العربية")],
    "he": [("שָׁלוֹם", "שלום")],
    "tr": [("İstanbul'da IŞIK", "istanbul'da ışık")],
    "az": [("İSTİ", "isti")],
    "vi": [("Tiếng Việt.", "tiếng việt")],
}

#: For each language: texts that differ, and that a careless normaliser would equate or tear apart.
DIFFERENT = {
    "hi": [("हिन्दी", "हिन्दि"), ("काल", "कल")],
    "zh": [("设定二十九度", "设定三十度"), ("他", "她"), ("110", "一一零")],
    "tr": [("ışık", "işik")],
    "bg": [("свят", "свет")],
}


@pytest.mark.parametrize(("step", "text", "expected"), [(step, *pair) for step, pairs in BY_STEP.items() for pair in pairs])
def test_step(step: str, text: str, expected: str) -> None:
    assert STEPS[step](text) == expected


def test_every_step_has_a_table() -> None:
    assert set(BY_STEP) == set(STEPS)


@pytest.mark.parametrize(("language", "one", "other"), [(code, *pair) for code, pairs in SAME.items() for pair in pairs])
def test_equal(language: str, one: str, other: str) -> None:
    normalizer = Normalizer.for_language(language)
    assert normalizer(one) == normalizer(other) != ""


@pytest.mark.parametrize(("language", "one", "other"), [(code, *pair) for code, pairs in DIFFERENT.items() for pair in pairs])
def test_different(language: str, one: str, other: str) -> None:
    normalizer = Normalizer.for_language(language)
    assert normalizer(one) != normalizer(other)


@pytest.mark.parametrize(
    ("language", "text"),
    [("hi", "हिन्दी"), ("ml", "സ്ഥിതിഗതികൾ"), ("yo", "ẹ̀kọ́"), ("yi", "אַזױ"), ("ar", "العَرَبِيَّة"), ("tr", "İstanbul"), ("ta", "தமிழ்")],
)
def test_one_word_stays_one_word(language: str, text: str) -> None:
    assert len(Normalizer.for_language(language)(text).split()) == 1


def test_basic_is_openai_s() -> None:
    """The same as another copy of OpenAI's rules, for every character between two letters."""
    other = pytest.importorskip("transformers.models.whisper.english_normalizer").BasicTextNormalizer()
    characters = [f"A{chr(code)}b" for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    for first in range(0, len(characters), 1000):
        text = " ".join(characters[first : first + 1000])
        assert STEPS["basic"](text) == other(text)


@pytest.mark.parametrize("language", sorted({str(Normalizer.for_language(code)): code for code in LANGUAGES}.values()))
@given(text=st.text(max_size=30))
def test_normalising_twice_changes_nothing(language: str | None, text: str) -> None:
    """So that a table of normalised text can be scored again; checked from the second pass on, where Unicode itself has settled."""
    normalizer = Normalizer.for_language(language)
    once = normalizer(normalizer(text))
    assert normalizer(once) == once
    assert once == once.strip()


def test_named_steps() -> None:
    assert str(Normalizer.named("lower, spaces")) == "lower+spaces"
    assert Normalizer.named("lower+spaces") == Normalizer.named("lower,spaces")
    assert str(Normalizer.named("none")) == "none"
    assert Normalizer.named("none")(" Raw, TEXT ") == " Raw, TEXT "


def test_unknown_step() -> None:
    with pytest.raises(UsageError, match=r"no step 'upper'; the steps are basic, .*no_spaces"):
        Normalizer.named("lower,upper")


# ---- texts that nobody says

UNITS = [
    "[",
    "(",
    "<",
    "7",
    "7 ",
    "1,",
    "1.",
    "1-",
    "1:",
    "1/",
    "%",
    " ",
    "\n",
    "'",
    "um ",
    "1s",
    "one ",
    "million ",
    "[a] ",
    "5   ",
    "二",
    "²",
]


@pytest.mark.parametrize("step", STEPS)
def test_no_step_takes_time_with_the_square_of_the_length(step: str) -> None:
    def seconds(unit: str, length: int) -> float:
        text = (unit * length)[:length]
        began = time.perf_counter()
        STEPS[step](text)
        return time.perf_counter() - began

    STEPS[step]("One 1.")  # what it imports takes time once
    slow = {unit: times for unit in UNITS if (times := (seconds(unit, 3000), seconds(unit, 24000))) and times[1] > 24 * times[0] + 0.25}
    assert not slow, f"eight times the length took more than 24 times as long: {slow}"


@pytest.mark.parametrize(
    "text", ["7" * 4301, "7" * 30_000, "1" + ",000" * 3000, "1." + "7" * 9000, "²" * 9000, "$" + "7" * 5000 + " million"]
)
def test_numbers_without_end_can_be_compared(text: str) -> None:
    for step in STEPS.values():
        assert step(text) == step(text)


def test_the_guards_change_nothing_in_ordinary_text() -> None:
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    references = [(STEPS["basic"], BasicTextNormalizer()), (STEPS["english"], EnglishTextNormalizer())]
    words = [
        "one",
        "twenty",
        "million",
        "and a half",
        "um",
        "hmm",
        "it's",
        "1,000",
        "$5",
        "3.5",
        "%",
        "'",
        " ",
        "\n",
        *"()[]<>{}.,-",
        "é",
        "İ",
    ]
    for seed in range(1500):
        choose = random.Random(seed)
        text = "".join(choose.choice(words) + choose.choice(["", " "]) for _ in range(choose.randint(1, 12)))
        for ours, theirs in references:
            assert ours(text) == theirs(text), text
