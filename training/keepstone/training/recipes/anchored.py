"""A loss against forgetting: the encoder learns from questions while texts of other kinds stay where they were.

Each step, the passages and as many texts of random words are also read by the encoder as it was at the start, and what
they moved by is added to the loss (learning without forgetting: Li and Hoiem, 2016). Random words stand in for all the
subjects that the dataset is not about (pseudorehearsal: Robins, 1995), so nothing else has to be at hand.

Imported by recipes when they train, since it loads torch.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

# So many random words a text: from the length of a question to that of a short passage.
_FEWEST, _MOST = 3, 30


class AnchoredLoss(torch.nn.Module):
    """A contrastive loss, and the distance by which passages and random words have moved since the start.

    Args:
        model: the SentenceTransformer that learns, still as it starts.
        contrast: a loss over the embeddings of question, passage and negatives.
        weight: of a distance of 1 (a right angle) against the contrast; 0: everything may move.
    """

    def __init__(self, model: Any, contrast: Any, weight: float) -> None:
        super().__init__()
        self.model = model
        self.contrast = contrast
        self.weight = weight
        self.start = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self._words = _words(model.tokenizer) if weight else []

    def forward(self, features: list[dict[str, torch.Tensor]], labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch; `features` holds the tokens of each column, questions first."""
        columns = [dict(column) for column in features]
        texts = [self.model(column)["sentence_embedding"] for column in columns]
        with torch.autocast(self.model.device.type, enabled=False):
            loss: torch.Tensor = self.contrast.compute_loss_from_embeddings([text.float() for text in texts], labels)
        if not self.weight:
            return loss
        invented = self._invented(len(texts[0]))
        moved = [
            *(self._distance(now, column) for now, column in zip(texts[1:], features[1:], strict=True)),
            self._distance(self.model(dict(invented))["sentence_embedding"], invented),
        ]
        # All passages together weigh as much as the random words.
        return loss + self.weight * (torch.stack(moved[:-1]).mean() + moved[-1])

    def _distance(self, now: torch.Tensor, column: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            before = self.start(dict(column))["sentence_embedding"]
        return 1 - cosine_similarity(now.float(), before.float()).mean()

    def _invented(self, count: int) -> dict[str, torch.Tensor]:
        """Return the tokens of texts of random words; torch's own dice, since checkpoints keep their state."""
        lengths = torch.randint(_FEWEST, _MOST + 1, (count,)).tolist()
        texts = [
            " ".join(self._words[place] for place in torch.randint(len(self._words), (length,)).tolist())
            for length in lengths
        ]
        tokens: dict[str, Any] = self.model.preprocess(texts)
        return {name: value.to(self.model.device) for name, value in tokens.items() if torch.is_tensor(value)}


def _words(tokenizer: Any) -> list[str]:
    """Return the words that are one token each, in an order that is the same in every process."""
    special = set(tokenizer.all_special_tokens)
    ordinary = sorted(token for token in tokenizer.get_vocab() if token not in special)
    words = (tokenizer.convert_tokens_to_string([token]).strip() for token in ordinary)
    return [word for word in words if len(word) > 1 and word.isalpha()] or ordinary
