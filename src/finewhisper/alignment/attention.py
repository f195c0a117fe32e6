"""What each head of a decoder looks at while it writes a given text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from finewhisper import whisper
from finewhisper.alignment.windows import Window
from finewhisper.audio import TIMESTAMP_STEP_S, WINDOW_FRAMES
from finewhisper.engines.word_times import Weights, normalized
from finewhisper.features import context_frames, log_mel, pad_samples
from finewhisper.model import Context, ModelFolder
from finewhisper.vocabulary import Vocabulary

#: The number of a decoder layer, and that of a head in it.
Head = tuple[int, int]


class Listener:
    """A transformers model that is shown a text and the speech in which it is said."""

    def __init__(self, folder: ModelFolder) -> None:
        self.model = whisper.load(folder).eval()
        self.vocabulary = Vocabulary.load(folder.files)
        self.context: Context = folder.card.context

    @property
    def heads(self) -> list[Head]:
        """All there are."""
        config = self.model.config
        return [(layer, head) for layer in range(config.decoder_layers) for head in range(config.decoder_attention_heads)]

    @torch.inference_mode()
    def attention(self, window: Window, heads: Sequence[Head]) -> Weights:
        """The normalized weights of heads in ascending order: (heads, text tokens and the end, positions of the window)."""
        prompt = self.vocabulary.prompt(window.language, timestamps=False)
        tokens = torch.tensor([[*prompt, *window.tokens, self.vocabulary.end_of_text]])
        states = self._encoded(window)
        positions = min(round(window.duration_s / TIMESTAMP_STEP_S), states.shape[1])
        with whisper.cross_attention(self.model, heads, positions) as weights:
            self.model.model.decoder(input_ids=tokens, encoder_hidden_states=states, use_cache=False)
        return normalized(torch.cat(weights)[:, len(prompt) - 1 : -1].numpy())  # a token's row is the one that predicts it

    def _encoded(self, window: Window) -> torch.Tensor:
        frames = context_frames(window.duration_s, self.context.margin_s) if self.context.trimmed else WINDOW_FRAMES
        features = log_mel(pad_samples(window.waveform, frames), self.model.config.num_mel_bins)
        states: torch.Tensor = self.model.model.encoder(torch.from_numpy(features[np.newaxis])).last_hidden_state
        return states
