"""Tokens of several models at once: words of different vocabularies, or ids of one tokenizer."""

from collections.abc import Sequence

import numpy as np

from lamina.lm.base import Array, Ids, LanguageModel, Tokenizer
from lamina.lm.ngram.model import NGram
from lamina.lm.ngram.tokens import END, UNKNOWN, checked

_LONGEST = 24
"""More tokens of a context than any n-gram model looks at."""


class JointWords:
    """The words of all models, ``<unk>``, ``<s>`` and ``</s>`` first, those of the first next."""

    unk_token_id = UNKNOWN
    eos_token_id = END

    def __init__(self, models: Sequence[NGram]) -> None:
        self._models = models
        self.tokenizer = self
        self._words: list[str] = []
        self._places: dict[str, int] = {}
        vocabularies = [model.vocabulary for model in models]
        for words in vocabularies:
            for word in words:
                if word not in self._places:
                    self._places[word] = len(self._words)
                    self._words.append(word)
        self._joint = [np.array([self._places[w] for w in words]) for words in vocabularies]
        self._own = []
        self._shares = []
        for joint in self._joint:
            own = np.full(len(self._words), UNKNOWN, np.int64)
            own[joint] = np.arange(len(joint))
            lacks = own == UNKNOWN
            self._own.append(own)
            self._shares.append(np.where(lacks, -np.log(lacks.sum()), 0.0))

    @property
    def vocab_size(self) -> int:
        """How many words there are."""
        return len(self._words)

    def token_to_id(self, token: str) -> int | None:
        """The id of a word, if it is one of the models'."""
        return self._places.get(token)

    def encode(self, text: str) -> Array:
        """Ids of the words of a text."""
        return self.ids(text, finish=False)

    def decode(self, ids: Ids) -> str:
        """The words, each line ended by its ``</s>``."""
        words = ["\n" if id == END else self._words[id] for id in checked(ids).tolist()]
        return " ".join(words).replace(" \n", "\n").replace("\n ", "\n")

    def ids(self, text: str | Ids, *, finish: bool) -> Array:
        """Ids of a text, or those given, checked; ``finish`` ends the last line too."""
        if not isinstance(text, str):
            return checked(text, self.vocab_size)
        found = np.zeros(0, np.int64)
        for model, joint in zip(self._models, self._joint, strict=True):
            own = joint[model.word_ids(text, finish=finish)]
            found = own if not found.size else np.where(found == UNKNOWN, own, found)
        return found

    def parts(self, ids: Array) -> Array:
        """Natural logarithms of what each model gives each token, ``[M, L]``."""
        rows = zip(self._models, self._own, self._shares, strict=True)
        return np.array([model.log_probs(own[ids]) + share[ids] for model, own, share in rows])

    def next_parts(self, context: Array) -> Array:
        """Natural logarithms of what each model gives all tokens, ``[M, V]``."""
        context = context[-_LONGEST:]
        rows = zip(self._models, self._own, self._shares, strict=True)
        logs = [model.next_log_probs(own[context])[own] + share for model, own, share in rows]
        return np.array(logs)


class SharedTokens:
    """The ids of the one tokenizer that all models have."""

    def __init__(self, models: Sequence[LanguageModel]) -> None:
        self._models = models
        self.tokenizer: Tokenizer = models[0].tokenizer
        self.unk_token_id = models[0].unk_token_id
        self.eos_token_id = models[0].eos_token_id
        sizes = [model.tokenizer.vocab_size for model in models]
        if len(set(sizes)) > 1:
            raise ValueError(f"mix: models: expected one tokenizer, got sizes {sizes}")

    def ids(self, text: str | Ids, *, finish: bool) -> Array:
        """Ids of a text, or those given, checked; texts of ids have no end to mark."""
        del finish
        return self._models[0]._ids(text)

    def parts(self, ids: Array) -> Array:
        """Natural logarithms of what each model gives each token, ``[M, L]``."""
        return np.array([model.log_probs(ids) for model in self._models])

    def next_parts(self, context: Array) -> Array:
        """Natural logarithms of what each model gives all tokens, ``[M, V]``."""
        logs = []
        for model in self._models:
            given = context[-_LONGEST:] if isinstance(model, NGram) else context
            logs.append(model.next_log_probs(given))
        return np.array(logs)
