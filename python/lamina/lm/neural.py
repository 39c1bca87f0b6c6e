"""Neural language models: a network that scores the next token, with its tokenizer."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from lamina import files, generation, models, nn, ops, optim, text, train
from lamina.lm.base import Array, Ids, LanguageModel, Tokenizer, encode, find_token
from lamina.lm.training import (
    Deadline,
    batches,
    check_positive,
    check_whole,
    cosine,
    decayed_matrices,
    next_token_loss,
)
from lamina.random import manual_seed
from lamina.tape import no_grad
from lamina.tensor import Tensor

# Length of the windows a recurrent network is trained on, unless the caller says otherwise.
_RECURRENT_CONTEXT = 64
# Numbers of logits computed at once when a text is scored.
_SCORED_AT_ONCE = 2**22


class NeuralLM(LanguageModel):
    """A network and a tokenizer as one language model.

    Args:
        model: such as :class:`lamina.models.GPT` or :class:`lamina.models.RecurrentLM`.
        tokenizer: one of :mod:`lamina.text`.
        start: id of the token that a text begins with, which the network sees before the first
            token. By default the newline, or what the tokenizer calls the beginning of a text.
            With neither, the first token counts as uniformly distributed, and generation
            needs a prompt.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, *, start: int | None = None) -> None:
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"NeuralLM: tokenizer: expected at most the {model.config.vocab_size} tokens of "
                f"the model, got {tokenizer.vocab_size}"
            )
        if start is not None and (type(start) is not int or not 0 <= start < tokenizer.vocab_size):
            raise ValueError(
                f"NeuralLM: start: expected an id from 0 to {tokenizer.vocab_size - 1}, "
                f"got {start!r}"
            )
        self.model = model
        self._tokenizer = tokenizer
        self.start = _start(tokenizer) if start is None else start

    def fit(
        self,
        data: str | Ids,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        seconds: float | None = None,
        batch_size: int = 16,
        context: int | None = None,
        lr: float = 1e-3,
        min_lr: float | None = None,
        warmup: int = 100,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.1,
        clip_norm: float | None = 1.0,
        validation: str | Ids | None = None,
        eval_every: int | None = None,
        callbacks: Sequence[train.Callback] = (),
        progress: bool | None = None,
        seed: int | None = None,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Train the network with AdamW until the first of the limits is reached.

        The rate rises for ``warmup`` steps and falls along a cosine to ``min_lr`` at the end. A
        model with a limited context sees windows from random places; a recurrent one reads
        ``batch_size`` parts of the text side by side and carries its state along. A second call
        goes on from the weights of the first, with a new optimiser.

        Args:
            data: a text, or ids ``[T]``.
            steps: number of steps.
            epochs: number of times as many tokens as the text has; 1 where no limit is given.
            seconds: duration; the rate then depends on the clock, and a repeat differs.
            batch_size: windows in a step.
            context: length of a window; by default that of the model, 64 of a recurrent one.
            lr: highest rate.
            min_lr: rate at the end; by default a tenth of ``lr``.
            warmup: steps before the highest rate; at most a tenth of all.
            betas: of AdamW.
            weight_decay: of matrices alone.
            clip_norm: largest norm of the gradients.
            validation: a text or ids; its loss then stands in the history.
            eval_every: steps between two rows of the history; by default a tenth of all.
            callbacks: see :func:`lamina.train.fit`.
            progress: see :func:`lamina.train.fit`.
            seed: starts the library's generator, so that order and dropout repeat.
            clock: measures ``seconds`` and is read after each step; one that stands still while
                callbacks work leaves their time out.

        Returns:
            The model; its ``history`` is the record, and ``tokens_read`` counts the targets of all
            steps.

        Raises:
            ValueError: a number is out of its range, or there are less than two tokens.
            TypeError: a number that must be an integer is not.
        """
        check_whole("batch_size", batch_size)
        check_whole("warmup", warmup, least=0)
        whole = {"steps": steps, "epochs": epochs, "context": context, "eval_every": eval_every}
        for name, number in whole.items():
            if number is not None:
                check_whole(name, number)
        check_positive("lr", lr)
        if seconds is not None:
            check_positive("seconds", seconds)
        if min_lr is not None and not 0 <= min_lr <= lr:
            raise ValueError(f"NeuralLM: min_lr: expected 0 to lr ({lr}), got {min_lr}")
        if seed is not None:
            manual_seed(seed)
        length = context or self.model.context or _RECURRENT_CONTEXT
        if self.model.context is not None and length > self.model.context:
            raise ValueError(
                f"NeuralLM: context: expected at most {self.model.context}, that of the model, "
                f"got {length}"
            )
        ids = self._training_ids("data", data)
        loader = batches(self.model, ids, batch_size, length, shuffle=True)
        in_epoch = -(-(len(ids) - 1) // (batch_size * length))
        limits = [] if steps is None else [steps]
        if epochs is not None or (steps is None and seconds is None):
            limits.append((1 if epochs is None else epochs) * in_epoch)
        total = min(limits, default=None)
        groups = decayed_matrices(self.model, weight_decay)
        optimizer = optim.AdamW(groups, lr=lr, betas=betas)
        least = 0.1 if min_lr is None else min_lr / lr
        factor = cosine(total, seconds, warmup, least, clock)
        if clock is not None and seconds is not None:
            callbacks = [*callbacks, Deadline(seconds, clock)]
        self.tokens_read = 0

        def loss(logits: Tensor, targets: Array) -> Tensor:
            self.tokens_read += targets.size if self.model.training else 0
            return next_token_loss(logits, targets)

        held_out = None
        if validation is not None:
            held_out_ids = self._training_ids("validation", validation)
            held_out = batches(self.model, held_out_ids, batch_size, length, shuffle=False)
        self.history = train.fit(
            self.model,
            loader,
            loss=loss,
            optimizer=optimizer,
            # Without a limit there would be one epoch.
            epochs=None if clock is None else sys.maxsize,
            steps=total,
            seconds=seconds if clock is None else None,
            schedule=optim.LambdaLR(optimizer, factor),
            clip_norm=clip_norm,
            validation=held_out,
            callbacks=callbacks,
            progress=progress,
            eval_every=eval_every or max(1, (total or 10 * in_epoch) // 10),
        )
        return self

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the network, the tokenizer and the start token as one folder, whole or not.

        A tokenizer of :mod:`lamina.text` goes with it; another one is for the caller to keep.
        """
        tokenizer = self.tokenizer
        self.model.save_pretrained(
            folder,
            tokenizer=tokenizer if isinstance(tokenizer, text.Tokenizer) else None,
            generation_config={"bos_token_id": self.start, "eos_token_id": self.eos_token_id},
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, tokenizer: Tokenizer | None = None) -> Self:
        """Read a folder that :meth:`save` wrote.

        Args:
            folder: the folder.
            tokenizer: that of the model, where it is not in the folder as ``tokenizer.json``.

        Raises:
            ValueError: the folder holds another kind of model, or a broken one.
        """
        config = files.find_folder(folder) / nn.pretrained.CONFIG
        if config.is_file() and files.read_json(config).get("class") == "NGram":
            raise files.FormatError(config, "is that of an NGram, which NGram.load reads")
        model = models.from_pretrained(folder)
        if tokenizer is None:
            tokenizer = text.Tokenizer.from_pretrained(folder)
        options = files.read_json(files.find_folder(folder) / nn.pretrained.GENERATION)
        return cls(model, tokenizer, start=options.get("bos_token_id"))

    @property
    def tokenizer(self) -> Tokenizer:
        """Turns text into ids and back."""
        return self._tokenizer

    @property
    def num_parameters(self) -> int:
        """How many numbers the network has learnt."""
        return self.model.num_parameters()

    def log_probs(self, text: str | Ids) -> Array:
        """Natural logarithm of the probability of each token given those before it.

        A model with a limited context reads long texts in windows that overlap by half, so that
        every token is predicted from at least half a context, if there is as much before it.
        A recurrent one carries its state through the whole text.
        """
        ids = self._ids(text)
        if self.start is None:
            size = self.tokenizer.vocab_size
            return np.concatenate([np.full(ids[:1].shape, -np.log(size)), self._score(ids)])
        return self._score(np.concatenate([[self.start], ids]))

    def next_log_probs(self, context: str | Ids = "") -> Array:
        """Natural logarithms of the probabilities of all tokens after ``context``."""
        size = self.tokenizer.vocab_size
        ids = self._ids(context)
        if self.start is None and not ids.size:
            return np.full(size, -np.log(size))
        scores = self._next_scores()(ids[None])[0].astype(np.float64)
        return scores - np.logaddexp.reduce(scores)

    def _next_scores(self) -> generation.NextScores:
        incremental = generation.Incremental(self.model.step)
        size = self.tokenizer.vocab_size

        def next_scores(ids: Array) -> Array:
            if self.start is not None:
                ids = np.concatenate([np.full((len(ids), 1), self.start), ids], axis=1)
            elif not ids.size:
                raise ValueError(
                    "NeuralLM: prompt: expected at least one token, as there is no start token"
                )
            with self._evaluating():
                return incremental(ids)[:, :size]

        return next_scores

    def _training_ids(self, name: str, text: str | Ids) -> Array:
        ids = self._ids(text)
        if self.start is not None:
            ids = np.concatenate([[self.start], ids])
        if len(ids) < 2:
            raise ValueError(f"NeuralLM: {name}: expected at least 2 tokens, got {len(ids)}")
        return ids

    def _score(self, ids: Array) -> Array:
        """Log-probabilities of all ids but the first."""
        if len(ids) < 2:
            return np.zeros(0)
        with self._evaluating():
            if self.model.context is None:
                return self._score_carried(ids)
            return self._score_windows(ids, self.model.context)

    def _score_carried(self, ids: Array) -> Array:
        length = max(1, _SCORED_AT_ONCE // self.model.config.vocab_size)
        state, parts = None, []
        for start in range(0, len(ids) - 1, length):
            end = min(start + length, len(ids) - 1)
            logits, state = self.model.step(ids[None, start:end], state)
            parts.append(self._pick(logits, ids[None, start + 1 : end + 1])[0])
        return np.concatenate(parts)

    def _score_windows(self, ids: Array, context: int) -> Array:
        # The windows of GPT.step: each forgets half a context of the one before.
        stride, length = max(1, context // 2), len(ids) - 1
        result = np.empty(length)
        first = min(context, length)
        result[:first] = self._pick(self.model(ids[None, :first]), ids[None, 1 : first + 1])[0]
        starts = np.arange(stride, max(0, length - context) + stride, stride)
        batch = max(1, _SCORED_AT_ONCE // (context * self.model.config.vocab_size))
        while starts.size:
            whole = starts[starts + context <= length][:batch]
            # The last window may be shorter than the others and then comes alone.
            group = whole if whole.size else starts
            starts = starts[group.size :]
            size = min(context, length - group[0])
            windows = group[:, None] + np.arange(size)
            scored = slice(context - stride, size)
            logits = self.model(ids[windows])[:, scored]
            result[windows[:, scored]] = self._pick(logits, ids[windows[:, scored] + 1])
        return result

    def _pick(self, logits: Tensor, targets: Array) -> Array:
        """Log-probabilities ``[N, L]`` of the targets."""
        size = self.tokenizer.vocab_size
        rows = logits.data[..., :size].reshape(-1, size)
        losses = ops.cross_entropy(rows, targets.reshape(-1), reduction="none")
        return -losses.data.astype(np.float64).reshape(targets.shape)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = self.model.training
        if training:
            self.model.eval()
        try:
            with no_grad():
                yield
        finally:
            if training:
                self.model.train()


def _start(tokenizer: Tokenizer) -> int | None:
    newline = encode(tokenizer, "\n")
    if len(newline) == 1 and newline[0] != find_token(tokenizer, "<unk>", "[UNK]"):
        return int(newline[0])
    return find_token(tokenizer, "<s>", "<|endoftext|>", "[CLS]")
