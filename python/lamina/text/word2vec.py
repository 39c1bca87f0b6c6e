"""word2vec: vectors of words from the words around them."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina import _kernels, files
from lamina.text.folder import Array, PathLike, pack_words, read_model, unpack_words, write_model
from lamina.text.keyed_vectors import KeyedVectors

Sentences = Iterable[Sequence[str]]
# Called after each epoch with the model, the number of the epoch from zero, and its loss.
Callback = Callable[[Any, int, float], None]
# Called with the words read so far and those to be read in all.
Progress = Callable[[int, int], None]

_PAD = 16
_BATCH = 4096
_TABLES = ("input", "hidden", "nodes")


class Word2Vec:
    """Vectors of words that predict the words around them.

    Skip-gram predicts from each word those in a window around it, CBOW the word from the mean of
    those. Each is told from words drawn at random (negative sampling), or found by its path in a
    tree (hierarchical softmax)::

        loss = -log sigmoid(x t) - sum over negatives of log sigmoid(-x t')

    A product beyond 6 or -6 counts as certain and changes nothing more, as in word2vec's C program.

    Arguments are gensim's. Several workers change the same vectors without locks (Hogwild), so
    results differ a little from run to run; with ``workers=1`` a seed gives the same bits.

    Args:
        sentences: lists of words. They are read twice, and their ids kept in memory (4 bytes a
            word); a generator is kept as a list first.
        corpus_file: in place of these a text file, one sentence a line, words apart by white space,
            compressed or not; it is read once for the vocabulary and in each epoch.
        vector_size: D.
        alpha: learning rate at the beginning; it falls in a line to ``min_alpha``.
        window: most words looked at on each side.
        min_count: leave out words that occur less often.
        max_vocab_size: forget rare words while counting, whenever there are more than this.
        sample: share of the text from which on words count as frequent and are thinned out; zero
            for none.
        seed: of the first vectors and all that is drawn.
        workers: threads, at most those of ``lamina.num_threads``, which is the default.
        min_alpha: learning rate in the end; by default a tenth of ``alpha``. gensim says 0.0001,
            but its two workers on a file end five epochs at 0.0025 too. On 11 million words that
            agrees better with WordSim-353 and SimLex-999.
        sg: skip-gram rather than CBOW.
        hs: use the hierarchical softmax.
        negative: words drawn to contrast each word with; zero for none.
        ns_exponent: power of the counts in proportion to which they are drawn.
        cbow_mean: the mean of the words around in CBOW, or their sum.
        epochs: passes over the sentences; without training if there are no sentences.
        batch_words: words between two changes of the learning rate.
        compute_loss: add up the loss, in ``losses``; costs a little time.
        max_final_vocab: raise ``min_count`` until at most so many words remain.
        shrink_windows: draw the width of each window from one to ``window``.
        shared_negatives: with ``sg``, draw negatives once for each word and all words in its window
            rather than for each pair: much faster, with vectors about as good.
        callbacks: called after each epoch.
        progress: called every few dozen milliseconds and after each epoch.

    Attributes:
        wv: the :class:`KeyedVectors`.
        losses: of each epoch, the sum over all predictions, where ``compute_loss`` was asked for.
        corpus_count: sentences counted for the vocabulary.
        corpus_total_words: words counted for it, with those that were left out.

    Raises:
        ValueError: an argument makes no sense, or training without a word in the vocabulary.

    Reference:
        Mikolov et al., Efficient estimation of word representations in vector space, and
        Distributed representations of words and phrases and their compositionality, 2013; negatives
        in common: Ji et al., Parallelizing word2vec in shared and distributed memory, 2016.
    """

    _NAME: ClassVar[str] = "Word2Vec"

    def __init__(
        self,
        sentences: Sentences | None = None,
        corpus_file: PathLike | None = None,
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int | None = None,
        min_alpha: float | None = None,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        epochs: int = 5,
        batch_words: int = 10_000,
        compute_loss: bool = False,
        max_final_vocab: int | None = None,
        shrink_windows: bool = True,
        *,
        shared_negatives: bool = False,
        callbacks: Sequence[Callback] = (),
        progress: Progress | None = None,
    ) -> None:
        self.vector_size = _whole(self._NAME, "vector_size", vector_size, 1, 1 << 20)
        self.alpha = _rate(self._NAME, "alpha", alpha)
        lowest = self.alpha / 10 if min_alpha is None else min_alpha
        self.min_alpha = _rate(self._NAME, "min_alpha", lowest)
        self.window = _whole(self._NAME, "window", window, 1, 10_000)
        self.min_count = _whole(self._NAME, "min_count", min_count, 0)
        self.max_vocab_size = _optional(self._NAME, "max_vocab_size", max_vocab_size)
        self.max_final_vocab = _optional(self._NAME, "max_final_vocab", max_final_vocab)
        self.sample = _rate(self._NAME, "sample", sample)
        self.seed = _whole(self._NAME, "seed", seed, 0, (1 << 64) - 1)
        self.workers = _optional(self._NAME, "workers", workers)
        self.sg, self.hs = int(bool(sg)), int(bool(hs))
        self.negative = _whole(self._NAME, "negative", negative, 0, 10_000)
        self.ns_exponent = float(ns_exponent)
        self.cbow_mean = int(bool(cbow_mean))
        self.epochs = _whole(self._NAME, "epochs", epochs, 1)
        self.batch_words = _whole(self._NAME, "batch_words", batch_words, 1)
        self.compute_loss = bool(compute_loss)
        self.shrink_windows = bool(shrink_windows)
        self.shared_negatives = bool(shared_negatives)
        if not self.hs and not self.negative:
            raise ValueError(f"{self._NAME}: expected hs or negative, got neither")
        if self.shared_negatives and not (self.sg and self.negative):
            raise ValueError(f"{self._NAME}: shared_negatives: expected sg=1 and negative above 0")
        self.losses: list[float] = []
        self.corpus_count = 0
        self.corpus_total_words = 0
        self._epochs_done = 0
        self._last = 0
        self._trainer: _kernels.Word2VecTrainer | None = None
        self._tables: dict[str, Array] = {}
        self._wv: KeyedVectors | None = None
        if sentences is not None or corpus_file is not None:
            corpus = self._corpus(sentences, corpus_file)
            self._count(corpus)
            self._train(corpus, self.epochs, self.alpha, self.min_alpha, callbacks, progress)

    # Vocabulary.

    def build_vocab(
        self, sentences: Sentences | None = None, corpus_file: PathLike | None = None
    ) -> None:
        """Count the words of a corpus and begin vectors for them, forgetting earlier ones.

        Args:
            sentences: lists of words.
            corpus_file: or a text file.
        """
        self._count(self._corpus(sentences, corpus_file))

    def _corpus(
        self, sentences: Sentences | None, corpus_file: PathLike | None
    ) -> Sentences | Path:
        if corpus_file is not None and sentences is None:
            return Path(corpus_file)
        if sentences is None or corpus_file is not None:
            raise TypeError(f"{self._NAME}: expected either sentences or corpus_file")
        if isinstance(sentences, str | bytes | os.PathLike):
            raise TypeError(
                f"{self._NAME}: sentences: expected lists of words, got "
                f"{type(sentences).__name__}; a text file is corpus_file"
            )
        return list(sentences) if isinstance(sentences, Iterator) else sentences

    def _count(self, corpus: Sentences | Path) -> None:
        counter = _kernels.Word2VecCounter(self.max_vocab_size)
        if isinstance(corpus, Path):
            counter.read(corpus)
        else:
            for batch in _batched(corpus):
                counter.add(batch)
        words, counts = counter.finish(self.min_count, self.max_final_vocab)
        if not words:
            raise ValueError(
                f"{self._NAME}: no word of {counter.words} occurs at least min_count="
                f"{self.min_count} times, expected at least one"
            )
        self.corpus_count, self.corpus_total_words = counter.sentences, counter.words
        self._begin(words, counts)
        rng = np.random.default_rng(self.seed)
        for start in range(0, len(self._tables["input"]), 1 << 16):
            part = self._tables["input"][start : start + (1 << 16), : self.vector_size]
            part[:] = (rng.random(part.shape, np.float32) * 2 - 1) / np.float32(self.vector_size)
        self.losses, self._epochs_done = [], 0

    def _begin(self, words: list[str], counts: Array) -> None:
        """Tables of zeros for words with counts."""
        self._trainer = _kernels.Word2VecTrainer(
            words,
            np.ascontiguousarray(counts, np.uint64),
            skip_gram=bool(self.sg),
            hierarchical=bool(self.hs),
            negative=self.negative,
            ns_exponent=self.ns_exponent,
            sample=self.sample,
            window=self.window,
            shrink_windows=self.shrink_windows,
            mean=bool(self.cbow_mean),
            shared_negatives=self.shared_negatives,
            subwords=self._subwords(),
            batch_words=self.batch_words,
        )
        rows = self._rows(len(words))
        self._tables = {name: _table(rows[name], self.vector_size) for name in _TABLES}
        self._words, self._counts = words, np.asarray(counts, np.int64)
        self._wv = None

    def _rows(self, size: int) -> dict[str, int]:
        """Rows of each table for a vocabulary of ``size``."""
        subwords = self._subwords()
        return {
            "input": size + (subwords[2] if subwords else 0),
            "hidden": size if self.negative else 0,
            "nodes": size if self.hs else 0,
        }

    def _subwords(self) -> tuple[int, int, int] | None:
        """Shortest and longest parts of words, and buckets."""
        return None

    @property
    def _ready(self) -> _kernels.Word2VecTrainer:
        if self._trainer is None:
            raise RuntimeError(f"{self._NAME}: no vocabulary yet: call build_vocab or load")
        return self._trainer

    # Training.

    def train(
        self,
        sentences: Sentences | None = None,
        corpus_file: PathLike | None = None,
        *,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        total_words: int | None = None,
        total_examples: int | None = None,
        compute_loss: bool | None = None,
        callbacks: Sequence[Callback] = (),
        progress: Progress | None = None,
    ) -> tuple[int, int]:
        """Train the vectors of a vocabulary that is there, from where they are.

        Args:
            sentences: lists of words; unknown ones are left out.
            corpus_file: or a text file.
            epochs: passes; by default those of the constructor.
            start_alpha: learning rate at the beginning; by default that of the constructor.
            end_alpha: and in the end.
            total_words: words in the corpus, for the learning rate; by default as many as it has,
                or for a file as many as the vocabulary was counted from.
            total_examples: taken for the sake of gensim's callers, and not used.
            compute_loss: add up the loss; by default as the constructor says.
            callbacks: called after each epoch.
            progress: called every few dozen milliseconds.

        Returns:
            Words that were used, and words that were read.
        """
        del total_examples
        corpus = self._corpus(sentences, corpus_file)
        passes = _whole(self._NAME, "epochs", self.epochs if epochs is None else epochs, 1)
        if compute_loss is not None:
            self.compute_loss = bool(compute_loss)
        first = _rate(self._NAME, "alpha", self.alpha if start_alpha is None else start_alpha)
        last = _rate(self._NAME, "alpha", self.min_alpha if end_alpha is None else end_alpha)
        return self._train(corpus, passes, first, last, callbacks, progress, total_words)

    def _train(
        self,
        corpus: Sentences | Path,
        epochs: int,
        first: float,
        last: float,
        callbacks: Sequence[Callback],
        progress: Progress | None,
        total_words: int | None = None,
    ) -> tuple[int, int]:
        trainer = self._ready
        source: Path | tuple[Array, Array] = (
            corpus if isinstance(corpus, Path) else (self._encoded(corpus))
        )
        words = self.corpus_total_words if isinstance(source, Path) else source[0].size
        words = words if total_words is None else total_words
        used = read = 0
        self._last = len(self.losses)
        rates = np.linspace(first, last, epochs + 1).tolist()

        def watch(done: int) -> None:
            if progress is not None:
                progress(read + done, words * epochs)

        try:
            for epoch in range(epochs):
                report = trainer.train(
                    source,
                    *(self._tables[name] for name in _TABLES),
                    words=words,
                    alpha=(rates[epoch], rates[epoch + 1]),
                    seed=self.seed,
                    number=self._epochs_done,
                    workers=self.workers or _kernels.num_threads(),
                    compute_loss=self.compute_loss,
                    progress=None if progress is None else watch,
                )
                self._epochs_done += 1
                used, read = used + report[2], read + report[1]
                watch(0)
                self._wv = None
                if self.compute_loss:
                    self.losses.append(report[0])
                for callback in callbacks:
                    callback(self, epoch, report[0])
        finally:
            # Also where training was stopped: what was learnt until then counts.
            self._wv = None
        return used, read

    def _encoded(self, corpus: Sentences) -> tuple[Array, Array]:
        ids, ends, total = [np.zeros(0, np.uint32)], [np.zeros(0, np.uint64)], 0
        for batch in _batched(corpus):
            more, stops = self._ready.encode(batch)
            ids.append(more)
            ends.append(stops + np.uint64(total))
            total += more.size
        return np.concatenate(ids), np.concatenate(ends)

    def get_latest_training_loss(self) -> float:
        """The losses of the epochs of the last training, added up."""
        return float(sum(self.losses[self._last :]))

    # The result.

    @property
    def wv(self) -> KeyedVectors:
        """The words and their vectors."""
        if self._wv is None:
            self._wv = self._keyed()
        return self._wv

    def _keyed(self) -> KeyedVectors:
        vectors = self._ready.vectors(self._tables["input"], self.vector_size)
        return KeyedVectors(self._words, vectors, self._counts)

    @property
    def syn1neg(self) -> Array:
        """The vectors of words as they are predicted, with ``negative``, ``[V, D]``."""
        return self._tables["hidden"][:, : self.vector_size]

    @property
    def syn1(self) -> Array:
        """The vectors of inner nodes of the tree, with ``hs``, ``[V, D]``."""
        return self._tables["nodes"][:, : self.vector_size]

    def __repr__(self) -> str:
        size = "" if self._trainer is None else f"{len(self._words)} words, "
        return f"{self._NAME}({size}vector_size={self.vector_size}, alpha={self.alpha})"

    # Files.

    def _options(self) -> dict[str, Any]:
        names = (
            "vector_size", "alpha", "window", "min_count", "max_vocab_size", "sample", "seed",
            "workers", "min_alpha", "sg", "hs", "negative", "ns_exponent", "cbow_mean", "epochs",
            "batch_words", "compute_loss", "max_final_vocab", "shrink_windows",
            "shared_negatives",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def save(self, folder: PathLike) -> None:
        """Write all that training needs to go on as a folder.

        Args:
            folder: gets ``config.json`` and ``model.safetensors``.
        """
        if self._trainer is None:
            raise RuntimeError(f"{self._NAME}: no vocabulary yet, nothing to save")
        tables = {
            name: np.ascontiguousarray(self._tables[name][:, : self.vector_size])
            for name in _TABLES
            if len(self._tables.get(name, ()))
        }
        config = {
            "class": self._NAME,
            "options": self._options(),
            "corpus_count": self.corpus_count,
            "corpus_total_words": self.corpus_total_words,
            "epochs_done": self._epochs_done,
            "losses": self.losses,
        }
        write_model(folder, config, {**tables, **pack_words(self._words, self._counts)})

    @classmethod
    def load(cls, folder: PathLike) -> Self:
        """Read a model that :meth:`save` wrote.

        Raises:
            FormatError: the folder holds another kind of model, or a broken one.
        """
        path, config, tensors = read_model(folder, (cls._NAME,))
        words, counts = unpack_words(path, tensors)
        if counts is None or not words:
            raise files.FormatError(path, "expected words and their counts")
        try:
            new = cls(**config["options"])
            new.corpus_count = int(config["corpus_count"])
            new.corpus_total_words = int(config["corpus_total_words"])
            new._epochs_done = _whole(cls._NAME, "epochs_done", config["epochs_done"], 0)
            new.losses = [float(loss) for loss in config["losses"]]
            new._check_room(path, len(words), tensors)
            new._begin(words, counts)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise files.FormatError(path.with_name("config.json"), error) from None
        for name in _TABLES:
            if len(new._tables[name]):
                new._tables[name][:, : new.vector_size] = tensors[name]
        return new

    def _check_room(self, path: Path, size: int, tensors: dict[str, Array]) -> None:
        """Tables are as large as the configuration says before memory is asked for them."""
        for name, count in self._rows(size).items():
            table, shape = tensors.get(name), (count, self.vector_size)
            if count and (table is None or table.shape != shape or table.dtype != np.float32):
                raise files.FormatError(path, f"{name}: expected float32 of shape {list(shape)}")


def _batched(sentences: Sentences) -> Iterator[list[Sequence[str]]]:
    source = iter(sentences)
    while batch := list(itertools.islice(source, _BATCH)):
        yield batch


def _table(rows: int, size: int) -> Array:
    """Zeros ``[rows, stride]`` that begin on a cache line, with a stride of whole lines."""
    stride = -(-size // _PAD) * _PAD
    whole = np.zeros(rows * stride + _PAD, np.float32)
    skip = -(whole.ctypes.data // 4) % _PAD
    return whole[skip : skip + rows * stride].reshape(rows, stride)


def _whole(op: str, name: str, value: Any, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{op}: {name}: expected an integer, got {type(value).__name__}")
    if value < least or (most is not None and value > most):
        end = "or more" if most is None else f"to {most}"
        raise ValueError(f"{op}: {name}: expected {least} {end}, got {value}")
    return int(value)


def _optional(op: str, name: str, value: Any) -> int | None:
    return None if value is None else _whole(op, name, value, 1)


def _rate(op: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{op}: {name}: expected a number, got {type(value).__name__}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{op}: {name}: expected a finite number of at least 0, got {value}")
    return float(value)
