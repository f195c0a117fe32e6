"""The transformers engine: torch on a CPU or on CUDA, for models as fine-tuning leaves them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper.engines.base import Engine, Features, Hypothesis
from finewhisper.engines.word_times import TokenTimes, token_starts
from finewhisper.errors import MissingExtraError, UnsupportedError
from finewhisper.model import Context, ModelFolder
from finewhisper.model_numbers import alignment_heads
from finewhisper.transcript import DecodeOptions
from finewhisper.vocabulary import Vocabulary

try:
    import torch
    from transformers import GenerationConfig, GenerationMixin, WhisperTimeStampLogitsProcessor
    from transformers.modeling_outputs import BaseModelOutput
except ImportError as error:
    raise MissingExtraError("transformers with torch", "train") from error

from finewhisper import whisper

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TransformersEngine(Engine):
    """Greedy or beam search on a torch model; the model's own lists of suppressed tokens are honoured."""

    name = "transformers"

    def __init__(self, model: whisper.LengthAwareWhisper, vocabulary: Vocabulary, context: Context) -> None:
        super().__init__(vocabulary, context, model.config.num_mel_bins)
        self.model = model
        self.precision = str(model.dtype).removeprefix("torch.")

    @classmethod
    def load(
        cls, folder: ModelFolder, *, device: str = "auto", precision: str = "auto", threads: int = 0, side_by_side: bool = False
    ) -> TransformersEngine:
        """Load a transformers folder; arguments and errors are those of :func:`finewhisper.engines.load_engine`."""
        place = choose_device(device)
        if precision not in ("auto", *PRECISIONS):
            raise UnsupportedError(
                f"--precision {precision}: the transformers engine computes in {', '.join(PRECISIONS)}; convert to ctranslate2 for int8"
            )
        dtype = PRECISIONS[precision] if precision != "auto" else torch.float16 if place.type == "cuda" else torch.float32
        if threads:
            torch.set_num_threads(threads)
        model: whisper.LengthAwareWhisper = whisper.load(folder, dtype).to(place).eval()
        return cls(model, Vocabulary.load(folder.files), folder.card.context)

    @torch.inference_mode()
    def encode(self, features: Features) -> npt.NDArray[np.float32]:
        return np.asarray(self._encode(features).float().cpu().numpy())

    @torch.inference_mode()
    def _generate(self, features: Features, prompts: list[list[int]], max_tokens: int, options: DecodeOptions) -> list[Hypothesis]:
        states = self._encode(features)
        prompt = torch.tensor(prompts, device=states.device)
        config, processors = self._search(max_tokens, prompt.shape[1], options)
        # GenerationMixin's generate, not Whisper's own override of it: prompts and windows are ours to decide.
        with self._chance(options):
            sequences = GenerationMixin.generate(
                self.model,
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=torch.ones(states.shape[:2], device=states.device),
                decoder_input_ids=prompt,
                generation_config=config,
                logits_processor=processors,
            )
        return self._score(states, sequences, prompt.shape[1])

    @torch.inference_mode()
    def _detect_languages(self, features: Features) -> list[dict[str, float]]:
        states = self._encode(features)
        start = torch.full((len(features), 1), self.vocabulary.start_of_transcript, device=states.device)
        logits = self.model.proj_out(self._decode_hidden(states, start)[:, 0]).float()  # (batch, vocabulary)
        codes, ids = zip(*self.vocabulary.languages.items(), strict=True)
        return [dict(zip(codes, row.tolist(), strict=True)) for row in logits[:, list(ids)].softmax(dim=-1)]

    @contextmanager
    def _chance(self, options: DecodeOptions) -> Iterator[None]:
        """Draw from the options' seed, and leave torch's own chance, which a training may depend on, as it was."""
        if not options.temperature:
            yield
            return
        with torch.random.fork_rng([self.model.device] if self.model.device.type == "cuda" else []):
            torch.manual_seed(options.seed)
            yield

    @torch.inference_mode()
    def _token_times(self, features: Features, prompts: list[list[int]], tokens: list[list[int]], positions: list[int]) -> list[TokenTimes]:
        found = []
        for clip, prompt, written, length in zip(self._encode(features), prompts, tokens, positions, strict=True):
            whole = torch.tensor([[*prompt, *written, self.vocabulary.end_of_text]], device=clip.device)
            with whisper.cross_attention(self.model, self._heads(), length) as weights:
                hidden = self._decode_hidden(clip[None], whole)[0, len(prompt) - 1 : -2]
            probabilities = self.model.proj_out(hidden).float()[:, : self.vocabulary.end_of_text].softmax(dim=-1)
            looked = torch.cat(weights)[:, len(prompt) - 1 : -1].float().cpu().numpy()  # (heads, tokens + 1, positions)
            likely = probabilities.gather(1, whole[0, len(prompt) : -1, None])[:, 0]
            found.append(TokenTimes(token_starts(looked), tuple(likely.tolist())))
        return found

    def _heads(self) -> list[tuple[int, int]]:
        """The alignment heads (layer, head) of generation_config.json; without them all heads of the upper half, as in OpenAI's code."""
        layers, heads = self.model.config.decoder_layers, self.model.config.decoder_attention_heads
        known = alignment_heads(getattr(self.model.generation_config, "alignment_heads", None), layers=layers, heads=heads)
        return known or [(layer, head) for layer in range(layers // 2, layers) for head in range(heads)]

    def _encode(self, features: Features) -> torch.Tensor:
        batch = torch.from_numpy(features).to(self.model.device, self.model.dtype)
        states: torch.Tensor = self.model.model.encoder(batch).last_hidden_state
        return states

    def _decode_hidden(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The decoder's last hidden states (batch, tokens, d_model)."""
        output = self.model.model.decoder(input_ids=tokens, encoder_hidden_states=states, use_cache=False)
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def _search(self, max_tokens: int, prompt_length: int, options: DecodeOptions) -> tuple[GenerationConfig, list[Any]]:
        stored = self.model.generation_config
        config = GenerationConfig(
            max_length=prompt_length + max_tokens,
            num_beams=1 if options.temperature else options.beam_size,
            do_sample=options.temperature > 0,
            temperature=options.temperature or None,
            top_k=0 if options.temperature else None,  # from all tokens
            eos_token_id=self.vocabulary.end_of_text,
            pad_token_id=self.vocabulary.end_of_text,
            decoder_start_token_id=self.vocabulary.start_of_transcript,
            suppress_tokens=getattr(stored, "suppress_tokens", None),
            begin_suppress_tokens=getattr(stored, "begin_suppress_tokens", None),
        )
        if not options.timestamps:
            return config, []
        config.no_timestamps_token_id = self.vocabulary.no_timestamps
        config.max_initial_timestamp_index = getattr(stored, "max_initial_timestamp_index", 50)
        return config, [WhisperTimeStampLogitsProcessor(config, begin_index=prompt_length)]

    def _score(self, states: torch.Tensor, sequences: torch.Tensor, prompt_length: int) -> list[Hypothesis]:
        """One teacher-forced pass over what was written: its log-probability, and how likely it is that nobody spoke."""
        hidden = self._decode_hidden(states, sequences[:, :-1])
        start = int((sequences[0] == self.vocabulary.start_of_transcript).nonzero()[0])
        hypotheses = []
        for row, tokens in zip(hidden, sequences, strict=True):  # row by row: all logits at once would be gigabytes
            written = tokens[prompt_length:].tolist()
            length = written.index(self.vocabulary.end_of_text) if self.vocabulary.end_of_text in written else len(written)
            scored = min(length + 1, len(written))  # the end token counts, as in OpenAI's decoder
            logits = self.model.proj_out(row[prompt_length - 1 : prompt_length - 1 + scored]).float().log_softmax(dim=-1)
            logprobs = logits.gather(1, tokens[prompt_length : prompt_length + scored, None])
            silence = self.model.proj_out(row[start]).float().softmax(dim=-1)[self.vocabulary.no_speech]
            hypotheses.append(Hypothesis(tuple(written[:length]), float(logprobs.mean()) if scored else 0.0, float(silence)))
        return hypotheses


def choose_device(device: str) -> torch.device:
    """The device to compute on; "auto" is CUDA where there is one.

    Raises:
        UnsupportedError: the device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UnsupportedError(f"--device {device}: torch sees no CUDA device here; use --device cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UnsupportedError(f"--device {device}: is not a torch device ({error}); use cpu or cuda") from None
    _require_there(place)
    return place


def _require_there(place: torch.device) -> None:
    """Raises: UnsupportedError: nothing can be put on this device."""
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        names = ", ".join(f"cuda:{index}" for index in range(torch.cuda.device_count()))
        raise UnsupportedError(f"--device {place}: there is no such device, only {names}; use one of them or --device cpu")
    try:
        torch.ones(1, device=place).cpu()  # a name that torch knows may stand for a device that this machine or build has not
    except (RuntimeError, AssertionError, ImportError):  # each of its backends refuses in a way of its own
        raise UnsupportedError(f"--device {place}: this torch cannot compute there on this machine; use --device cpu") from None
