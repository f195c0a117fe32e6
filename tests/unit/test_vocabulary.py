"""Golden ids of the three vocabularies, as openai-whisper 20250625 has them; prompts; segments from timestamps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from finewhisper.errors import ModelError, UsageError
from finewhisper.transcript import Segment
from finewhisper.vocabulary import LANGUAGES, TIMESTAMP_TOKENS, Vocabulary, language_code

Vocabularies = dict[str, Vocabulary]
pytestmark = pytest.mark.real

KINDS = ["en", "v2", "v3"]
SIZES = {"en": 51864, "v2": 51865, "v3": 51866}
#: In the order of KINDS.
GOLDEN = {
    "<|endoftext|>": (50256, 50257, 50257),
    "<|startoftranscript|>": (50257, 50258, 50258),
    "<|en|>": (50258, 50259, 50259),
    "<|zh|>": (50259, 50260, 50260),
    "<|bg|>": (50291, 50292, 50292),
    "<|su|>": (50356, 50357, 50357),
    "<|yue|>": (None, None, 50358),
    "<|translate|>": (50357, 50358, 50359),
    "<|transcribe|>": (50358, 50359, 50360),
    "<|startoflm|>": (50359, 50360, 50361),
    "<|startofprev|>": (50360, 50361, 50362),
    "<|notimestamps|>": (50362, 50363, 50364),
    "<|0.00|>": (50363, 50364, 50365),
    "<|0.02|>": (50364, 50365, 50366),
    "<|29.98|>": (51862, 51863, 51864),
    "<|30.00|>": (51863, 51864, 51865),
}


@pytest.mark.parametrize("token", GOLDEN)
@pytest.mark.parametrize("kind", KINDS)
def test_golden_ids(vocabularies: Vocabularies, kind: str, token: str) -> None:
    expected = GOLDEN[token][KINDS.index(kind)]
    if expected is None:
        with pytest.raises(ModelError, match=r"no token <\|yue\|>"):
            vocabularies[kind].id(token)
    else:
        assert vocabularies[kind].id(token) == expected


@pytest.mark.parametrize(("kind", "no_speech"), [("en", 50361), ("v2", 50362), ("v3", 50363)])
def test_named_ids(vocabularies: Vocabularies, kind: str, no_speech: int) -> None:
    """No speech has two names in files, <|nospeech|> and the older <|nocaptions|>."""
    vocabulary, column = vocabularies[kind], KINDS.index(kind)
    assert vocabulary.size == SIZES[kind]
    assert vocabulary.no_speech == no_speech
    assert vocabulary.end_of_text == GOLDEN["<|endoftext|>"][column]
    assert vocabulary.start_of_transcript == GOLDEN["<|startoftranscript|>"][column]
    assert vocabulary.previous_text == GOLDEN["<|startofprev|>"][column]
    assert vocabulary.no_timestamps == GOLDEN["<|notimestamps|>"][column]
    assert vocabulary.first_timestamp == GOLDEN["<|0.00|>"][column]


PROMPTS = {
    ("en", None, "transcribe", True): [50257],
    ("en", None, "transcribe", False): [50257, 50362],
    ("en", "English", "transcribe", False): [50257, 50362],
    ("v2", "bg", "transcribe", True): [50258, 50292, 50359],
    ("v2", "bg", "transcribe", False): [50258, 50292, 50359, 50363],
    ("v2", "Chinese", "translate", False): [50258, 50260, 50358, 50363],
    ("v2", "en", "transcribe", False): [50258, 50259, 50359, 50363],
    ("v3", "bg", "transcribe", True): [50258, 50292, 50360],
    ("v3", "bg", "transcribe", False): [50258, 50292, 50360, 50364],
    ("v3", "yue", "translate", False): [50258, 50358, 50359, 50364],
}


@pytest.mark.parametrize(("case", "expected"), PROMPTS.items(), ids=str)
def test_golden_prompts(vocabularies: Vocabularies, case: tuple[str, str | None, str, bool], expected: list[int]) -> None:
    kind, language, task, timestamps = case
    assert vocabularies[kind].prompt(language, task, timestamps=timestamps) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_has_one_start_and_the_last_223_tokens_of_what_came_before(vocabularies: Vocabularies, kind: str) -> None:
    vocabulary = vocabularies[kind]
    language = "bg" if vocabulary.multilingual else None
    plain = vocabulary.prompt(language, timestamps=True)
    short = vocabulary.prompt(language, timestamps=True, previous=" Hello, world! ")
    hello = {"en": [18435, 11, 995, 0], "v2": [2425, 11, 1002, 0], "v3": [2425, 11, 1002, 0]}[kind]
    assert short == [vocabulary.previous_text, *hello, *plain]
    long = vocabulary.prompt(language, timestamps=True, previous="a " * 1000)
    assert len(long) == 1 + 223 + len(plain)
    assert long.count(vocabulary.start_of_transcript) == 1
    assert vocabulary.prompt(language, timestamps=True, previous="  ") == plain


@pytest.mark.parametrize(
    ("kind", "language", "task", "message"),
    [
        ("v2", None, "transcribe", "needs a language"),
        ("v2", "yue", "transcribe", "only in large-v3"),
        ("v2", "Klingon", "transcribe", "not one of Whisper's"),
        ("en", "zh", "transcribe", "can only transcribe English"),
        ("en", None, "translate", "can only transcribe English"),
    ],
)
def test_prompts_that_cannot_be(vocabularies: Vocabularies, kind: str, language: str | None, task: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        vocabularies[kind].prompt(language, task, timestamps=False)  # type: ignore[arg-type]


def test_languages_are_those_of_the_tokens(vocabularies: Vocabularies) -> None:
    assert len(LANGUAGES) == 100
    assert vocabularies["en"].languages == {}
    assert list(vocabularies["v2"].languages.values()) == list(range(50259, 50358))
    assert list(vocabularies["v3"].languages.values()) == list(range(50259, 50359))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *[("zh", "zh"), ("Chinese", "zh"), (" mandarin ", "zh"), ("zh-CN", "zh"), ("BG", "bg"), ("Haitian Creole", "ht")],
        *[("haitian_creole", "ht"), ("Cantonese", "yue"), ("jv", "jw"), ("Burmese", "my")],
        *[("en-US", "en"), ("pt_BR", "pt"), ("zh-Hant-TW", "zh"), ("es-419", "es")],
    ],
)
def test_languages_by_code_and_name(name: str, code: str) -> None:
    assert language_code(name) == code


@pytest.mark.parametrize("name", ["klingon", "no-such-language", "x-US", "en-", ""])
def test_what_is_no_language_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not one of Whisper's"):
        language_code(name)


TEXTS = {
    "v2": {
        " Hello, world!": [2425, 11, 1002, 0],
        " Здравей": [17613, 5608, 2345],
        "设定二十九度": [7422, 122, 12088, 11217, 20145, 43145, 13127],
    },
    "en": {" Hello, world!": [18435, 11, 995, 0], " a b": [257, 275]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_golden_texts(vocabularies: Vocabularies, kind: str) -> None:
    for text, ids in TEXTS["v2" if kind == "v3" else kind].items():
        assert vocabularies[kind].encode(text) == ids
        assert vocabularies[kind].decode(ids) == text


def test_sentences_begin_with_a_space_where_the_script_has_spaces(vocabularies: Vocabularies) -> None:
    vocabulary = vocabularies["v2"]
    assert vocabulary.encode_text("  Hello, world! ", "en") == [2425, 11, 1002, 0]
    assert vocabulary.encode_text("Hello, world!", None) == [2425, 11, 1002, 0]
    assert vocabulary.encode_text(" 设定二十九度", "Chinese") == [7422, 122, 12088, 11217, 20145, 43145, 13127]
    assert vocabulary.encode_text(" \n", "en") == []


def test_control_tokens_spelt_out_in_a_text_stay_text(vocabularies: Vocabularies) -> None:
    """A transcript cannot end its own decoding, nor start another one."""
    vocabulary = vocabularies["v2"]
    text = "<|endoftext|><|startoftranscript|><|0.00|>"
    ids = vocabulary.encode(text)
    assert max(ids) < vocabulary.end_of_text
    assert vocabulary.decode(ids) == text


@given(text=st.text(max_size=40), kind=st.sampled_from(KINDS))
def test_decoding_undoes_encoding(vocabularies: Vocabularies, text: str, kind: str) -> None:
    vocabulary = vocabularies[kind]
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_times(vocabularies: Vocabularies) -> None:
    vocabulary = vocabularies["v2"]
    assert [vocabulary.timestamp(seconds) for seconds in (0.0, 0.02, 1.004, 29.99, 30.0)] == [50364, 50365, 50414, 51864, 51864]
    for step in range(len(TIMESTAMP_TOKENS)):
        assert vocabulary.seconds(50364 + step) == pytest.approx(step * 0.02)
    assert vocabulary.seconds(vocabulary.no_timestamps) is None
    for seconds in (-0.1, 30.02):
        with pytest.raises(ValueError, match="lies within 0 and 30 s"):
            vocabulary.timestamp(seconds)


HELLO, WORLD = [2425], [1002]  # " Hello", " world"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([], []),
        ([*HELLO, *WORLD], [Segment("Hello world", 0.0, 5.0)]),
        ([0.0, *HELLO, 1.0, 1.0, *WORLD, 2.5], [Segment("Hello", 0.0, 1.0), Segment("world", 1.0, 2.5)]),
        ([0.5, *HELLO], [Segment("Hello", 0.5, 5.0)]),  # the end is missing
        ([0.0, *HELLO, 1.0, 3.0, *WORLD, 2.0], [Segment("Hello", 0.0, 1.0), Segment("world", 3.0, 3.0)]),  # time runs backwards
        ([0.0, *HELLO, 29.0], [Segment("Hello", 0.0, 5.0)]),  # behind the clip's end
        ([0.0, *HELLO, 5.0, 5.0, *HELLO, 6.0, 6.0, *HELLO], [Segment("Hello", 0.0, 5.0)]),  # made up behind the clip's end
        ([6.0, *HELLO, 7.0], [Segment("Hello", 5.0, 5.0)]),  # all there is: the time is wrong, the text need not be
        ([0.0, 1.0, 1.0, 2.0], []),  # times without words
    ],
)
def test_segments(vocabularies: Vocabularies, written: list[int | float], expected: list[Segment]) -> None:
    vocabulary = vocabularies["v2"]
    tokens = [vocabulary.timestamp(item) if isinstance(item, float) else item for item in written]
    assert vocabulary.segments(tokens, 5.0) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([0.0, 11, 1.0], True),
        ([0.5, 11, 12, 1.0, 1.0, 13, 2.5], True),
        ([0.0, 11, 1.0, 1.2], True),  # the last sentence goes on behind the window
        ([0.0, 11, 1.0, 1.2, 12], False),  # no end
        ([11, 12], False),  # no times
        ([11, 1.0], False),  # no start
        ([0.0, 11, 1.0, 12], False),
        ([0.0, 1.0, 11, 2.0], False),  # nothing between start and end
        ([1.0, 11, 0.5], False),  # backwards
        ([1.0, 11, 1.0], False),
        ([0.0, 11, 2.0, 1.0, 12, 3.0], False),
    ],
)
def test_well_timed(vocabularies: Vocabularies, written: list[int | float], expected: bool) -> None:
    vocabulary = vocabularies["v2"]
    assert vocabulary.well_timed([vocabulary.timestamp(item) if isinstance(item, float) else item for item in written]) is expected


@given(tokens=st.lists(st.one_of(st.integers(50364, 51864), st.integers(0, 50256)), max_size=40), duration_s=st.floats(0.1, 30.0))
def test_segments_run_forward_inside_the_clip_whatever_was_written(
    vocabularies: Vocabularies, tokens: list[int], duration_s: float
) -> None:
    times = [time for segment in vocabularies["v2"].segments(tokens, duration_s) for time in (segment.start_s, segment.end_s)]
    assert times == sorted(times)
    assert all(0.0 <= time <= duration_s for time in times)


def test_files_that_are_no_whisper_tokenizer(tiny_en_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        Vocabulary.load(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text("not JSON")
    with pytest.raises(ModelError, match=r"tokenizer\.json: cannot be read as a tokenizer"):
        Vocabulary.load(tmp_path)
    shutil.copyfile(tiny_en_model / "tokenizer.json", path)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["<|laughter|>"] + [f"<|sound{index}|>" for index in range(8)])
    tokenizer.save(str(path))
    with pytest.raises(ModelError, match=r"tokenizer\.json: the tokenizer has 51873 tokens, .*added tokens are not supported"):
        Vocabulary.load(tmp_path)


def test_a_published_file_without_times_is_completed(tiny_en_ct2_model: Path) -> None:
    assert Tokenizer.from_file(str(tiny_en_ct2_model / "tokenizer.json")).token_to_id("<|0.00|>") is None
    assert Vocabulary.load(tiny_en_ct2_model).id("<|30.00|>") == 51863
