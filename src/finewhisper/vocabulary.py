"""Special tokens, languages and THE prompt builder, shared by training, evaluation and every engine.

A Whisper decoder sees ``<|startoftranscript|><|language|><|task|>`` and, where segment times are not wanted, ``<|notimestamps|>``;
an English-only model sees no language and task (Radford et al. 2022, figure 1). The ids differ between the ``.en`` vocabulary (51864
tokens), the multilingual one (51865) and that of large-v3 and turbo (51866, one more language), so ids are always looked up by the
token's text and never computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from finewhisper.audio import TIMESTAMP_STEP_S, WINDOW_S, Seconds
from finewhisper.errors import ModelError, UsageError
from finewhisper.language import LANGUAGES as LANGUAGES
from finewhisper.language import language_code as language_code
from finewhisper.transcript import UNSPACED, Segment, Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: The decoder's longest sequence, prompt and end token included.
MAX_TOKENS = 448
#: The label of positions that carry no loss: the prompt and the padding.
IGNORED = -100
#: Vocabulary sizes in the wild, and which models have them.
VOCABULARY_SIZES = {51864: "English-only (.en)", 51865: "multilingual v1 and v2", 51866: "large-v3 and turbo"}

#: The 1501 times that a model can write, in the order of their tokens.
TIMESTAMP_TOKENS = [f"<|{step * TIMESTAMP_STEP_S:.2f}|>" for step in range(round(WINDOW_S / TIMESTAMP_STEP_S) + 1)]


class Vocabulary:
    """A model's tokenizer, its special tokens by name, and the prompts made of them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if tokenizer.token_to_id("<|notimestamps|>") == tokenizer.get_vocab_size() - 1:
            tokenizer.add_tokens(TIMESTAMP_TOKENS)  # some faster-whisper folders of .en models leave them out
        self.tokenizer = tokenizer
        self._plain = type(tokenizer)(tokenizer.model)  # without added tokens, so that text can never become one of them
        self._plain.pre_tokenizer = tokenizer.pre_tokenizer
        self.size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        if self.size not in VOCABULARY_SIZES:
            known = ", ".join(f"{size} ({name})" for size, name in VOCABULARY_SIZES.items())
            raise ModelError(f"the tokenizer has {self.size} tokens, Whisper's have {known}; models with added tokens are not supported")

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Read ``tokenizer.json`` of a model folder.

        Raises:
            ModelError: it is missing or is not a Whisper tokenizer.
        """
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{folder}: has no tokenizer.json; copy it from the model that this one was made from")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises bare Exception for every malformed file
            raise ModelError(f"{path}: cannot be read as a tokenizer ({error}); copy it again from the original model") from error
        try:
            return cls(tokenizer)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None

    def id(self, token: str) -> int:
        """The id of a token given by its text, such as ``<|transcribe|>``."""
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise ModelError(f"the tokenizer has no token {token}; it is not one of Whisper's")
        return int(found)

    @cached_property
    def start_of_transcript(self) -> int:
        return self.id("<|startoftranscript|>")

    @cached_property
    def end_of_text(self) -> int:
        return self.id("<|endoftext|>")

    @cached_property
    def no_timestamps(self) -> int:
        return self.id("<|notimestamps|>")

    @cached_property
    def no_speech(self) -> int:
        """``<|nospeech|>``, which files made before transformers 4.31 call ``<|nocaptions|>``."""
        found = self.tokenizer.token_to_id("<|nospeech|>")
        return int(found) if found is not None else self.id("<|nocaptions|>")

    @cached_property
    def previous_text(self) -> int:
        return self.id("<|startofprev|>")

    @cached_property
    def first_timestamp(self) -> int:
        return self.id("<|0.00|>")

    @cached_property
    def multilingual(self) -> bool:
        return self.size != min(VOCABULARY_SIZES)

    @cached_property
    def languages(self) -> dict[str, int]:
        """Language codes and their token ids; empty for an English-only model."""
        if not self.multilingual:
            return {}
        found = ((code, self.tokenizer.token_to_id(f"<|{code}|>")) for code in LANGUAGES)
        return {code: int(token) for code, token in found if token is not None}

    def timestamp(self, seconds: Seconds) -> int:
        """The id of the timestamp nearest to ``seconds``, within 0 … 30 s."""
        if not 0.0 <= seconds <= WINDOW_S + TIMESTAMP_STEP_S / 2:
            raise ValueError(f"a timestamp lies within 0 and {WINDOW_S} s, not at {seconds}")
        return self.id(TIMESTAMP_TOKENS[round(seconds / TIMESTAMP_STEP_S)])

    def seconds(self, token: int) -> Seconds | None:
        """The time that a timestamp token stands for; None for every other token."""
        if token < self.first_timestamp:
            return None
        text = str(self.tokenizer.id_to_token(token))
        return float(text[2:-2])

    def prompt(
        self, language: str | None, task: Task = "transcribe", *, timestamps: bool, previous: str = "", hotwords: Sequence[str] = ()
    ) -> list[int]:
        """The tokens before the text: exactly one ``<|startoftranscript|>``, whatever the model.

        Args:
            language: a code or name; None only for English-only models.
            previous: text that came before, placed after ``<|startofprev|>``; its last 223 tokens are used, as OpenAI does.
            hotwords: terms to expect, placed before that text, up to half of these tokens.

        Raises:
            UsageError: the language is unknown, or the model cannot do what is asked.
        """
        context = self._context(previous.strip(), ", ".join(word.strip() for word in hotwords))
        if self.multilingual:
            if language is None:
                raise UsageError("a multilingual model needs a language: pass --language, or give each manifest line a 'language'")
            code = language_code(language)
            if code not in self.languages:
                raise UsageError(
                    f"language {code!r} exists only in large-v3 and turbo models, and this model does not have it; "
                    "give zh, under which earlier models learnt Cantonese"
                )
            start = [self.start_of_transcript, self.languages[code], self.id(f"<|{task}|>")]
        else:
            if (language is not None and language_code(language) != "en") or task != "transcribe":
                raise UsageError(
                    f"an English-only (.en) model can only transcribe English, not {task} {language!r}; use a multilingual model"
                )
            start = [self.start_of_transcript]
        return context + start + ([] if timestamps else [self.no_timestamps])

    def _context(self, previous: str, glossary: str) -> list[int]:
        room = MAX_TOKENS // 2 - 1
        terms = self.encode(f" {glossary}.")[: room // 2] if glossary else []
        said = self.encode(" " + previous)[-(room - len(terms)) :] if previous else []
        return [self.previous_text, *terms, *said] if terms or said else []

    def encode(self, text: str) -> list[int]:
        """Plain text to ids; a control token spelt out in ``text`` stays plain text."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_text(self, text: str, language: str | None) -> list[int]:
        """A sentence as Whisper itself writes it: a leading space except in scripts without spaces."""
        stripped = text.strip()
        if not stripped:
            return []
        return self.encode(stripped if language and language_code(language) in UNSPACED else " " + stripped)

    def decode(self, tokens: Iterable[int]) -> str:
        """Ids to text, special tokens and timestamps left out."""
        return str(self.tokenizer.decode([token for token in tokens if token < self.end_of_text], skip_special_tokens=True))

    def well_timed(self, tokens: Sequence[int]) -> bool:
        """Whether all text of a decoded window stands between a start and a later end, and no time lies before an earlier one.

        A lone start may close the window: so does Whisper announce a sentence that goes on behind it (Radford et al. 2022, section 2.3).
        """
        latest_s, started, spoken = 0.0, False, False
        for token in tokens:
            at_s = self.seconds(token)
            if at_s is None:
                spoken = True
                if not started:
                    return False
            elif at_s < latest_s or (started and not (spoken and at_s > latest_s)):
                return False
            else:
                latest_s, started, spoken = at_s, not started, False
        return not (started and spoken)

    def segments(self, tokens: Sequence[int], duration_s: Seconds) -> list[Segment]:
        """The segments of :meth:`pieces`."""
        return [segment for segment, _ in self.pieces(tokens, duration_s)]

    def pieces(self, tokens: Sequence[int], duration_s: Seconds) -> list[tuple[Segment, list[int]]]:
        """Cut a decoded window at its timestamps, into segments and their text tokens; without any it is one from 0 to ``duration_s``.

        A start without an end closes at ``duration_s``; times run forward and stay inside the clip whatever the model wrote. Text that
        begins at or after the end of the clip, with other text before it, is made up and left out: a model that was told to write times
        without having learnt to end there says the same again and again.
        """
        pieces: list[tuple[Segment, list[int]]] = []
        start_s = 0.0
        text: list[int] = []

        def close(end_s: Seconds) -> None:
            words = self.decode(text).strip()
            if words and not (pieces and start_s >= duration_s):
                begin = min(max(start_s, pieces[-1][0].end_s if pieces else 0.0), duration_s)
                pieces.append((Segment(words, begin, min(max(end_s, begin), duration_s)), list(text)))
            text.clear()

        for token in tokens:
            at_s = self.seconds(token)
            if at_s is None:
                text.append(token)
            else:
                close(at_s)
                start_s = at_s
        close(duration_s)
        return pieces
