"""Words and their vectors: similarity, analogies, evaluation, files of word2vec."""

import gzip
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina import _kernels, files
from lamina.text.correlation import Correlation, pearson, ranks
from lamina.text.folder import Array, PathLike, pack_words, read_model, unpack_words, write_model

# A word, its place or a vector, and the same with a weight.
Key = str | int | np.integer[Any] | Array
Keys = Key | tuple[Key, float] | Sequence[Key | tuple[Key, float]]
Found = list[tuple[str, float]]

_LINES = 256


class KeyedVectors:
    """Words and their vectors.

    Args:
        words: V different words.
        vectors: ``[V, D]``.
        counts: how often each word occurs, ``[V]``; may be missing.

    Attributes:
        index_to_key: the words in their order, frequent ones first where training made them.
        key_to_index: the place of each word.
    """

    def __init__(self, words: Iterable[str], vectors: Array, counts: Array | None = None) -> None:
        self.index_to_key = list(words)
        self.key_to_index = {word: place for place, word in enumerate(self.index_to_key)}
        size = len(self.index_to_key)
        if len(self.key_to_index) != size:
            raise ValueError("KeyedVectors: words: expected each word once")
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or len(vectors) != size:
            raise ValueError(
                f"KeyedVectors: vectors: expected a row for each of {size} words, "
                f"got shape {list(vectors.shape)}"
            )
        if counts is not None and np.shape(counts) != (size,):
            raise ValueError(f"KeyedVectors: counts: expected {size}, got {np.shape(counts)}")
        self._vectors = vectors
        self._normed: Array | None = None
        self.counts = None if counts is None else np.asarray(counts, np.int64)

    @property
    def vectors(self) -> Array:
        """The vectors, float32 ``[V, D]``."""
        return self._vectors

    @vectors.setter
    def vectors(self, value: Array) -> None:
        if np.shape(value)[:1] != (len(self),) or np.ndim(value) != 2:
            raise ValueError(
                f"KeyedVectors: vectors: expected a row for each of {len(self)} words, "
                f"got shape {list(np.shape(value))}"
            )
        self._vectors = np.asarray(value, np.float32)
        self._normed = None

    @property
    def vector_size(self) -> int:
        """Numbers in a vector, D."""
        return int(self._vectors.shape[1])

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: object) -> bool:
        return key in self.key_to_index

    def __iter__(self) -> Iterator[str]:
        return iter(self.index_to_key)

    def __getitem__(self, key: Key | Sequence[Key]) -> Array:
        """The vector ``[D]`` of a word or a place, or those ``[N, D]`` of several."""
        if isinstance(key, str | int | np.integer):
            return self.get_vector(key)
        return np.stack([self.get_vector(one) for one in key])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} words, vector_size={self.vector_size})"

    # Vectors of words.

    def get_vector(self, key: Key, norm: bool = False) -> Array:
        """The vector ``[D]`` of a word, of length one where ``norm`` says so.

        Raises:
            KeyError: there is no such word.
        """
        place = self._place(key)
        vector = self._unknown(key) if place is None else self._vectors[place]
        return _unit(vector) if norm else vector

    def _place(self, key: Key) -> int | None:
        if isinstance(key, str):
            return self.key_to_index.get(key)
        if isinstance(key, int | np.integer) and 0 <= key < len(self):
            return int(key)
        return None

    def _unknown(self, key: Key) -> Array:
        raise KeyError(f"{key!r} is not among the {len(self)} words")

    def has_index_for(self, key: Key) -> bool:
        """Whether a word is in the vocabulary."""
        return self._place(key) is not None

    def get_index(self, key: str, default: int | None = None) -> int:
        """The place of a word, or ``default``."""
        place = self.key_to_index.get(key, default)
        if place is None:
            raise KeyError(f"{key!r} is not among the {len(self)} words")
        return place

    def get_normed_vectors(self) -> Array:
        """The vectors at length one, ``[V, D]``; made once, so do not change it."""
        if self._normed is None:
            self._normed = _unit(self._vectors)
        return self._normed

    def get_mean_vector(
        self,
        keys: Keys,
        weights: Sequence[float] | None = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> Array:
        """The mean ``[D]`` of the vectors of several words.

        Args:
            keys: words, places or vectors.
            weights: of each; one by default.
            pre_normalize: bring the vector of each word to length one first.
            post_normalize: and the mean in the end.
            ignore_missing: leave out unknown words, which otherwise are an error.
        """
        listed = _listed(keys)
        given = [weight for _, weight in listed] if weights is None else list(weights)
        if not listed or len(given) != len(listed):
            raise ValueError(
                f"get_mean_vector: expected at least one key and a weight for each, "
                f"got {len(listed)} keys and {len(given)} weights"
            )
        mean, total = np.zeros(self.vector_size, np.float32), 0.0
        for (key, _), weight in zip(listed, given, strict=True):
            if isinstance(key, np.ndarray):
                mean += np.float32(weight) * self._checked(key)
            elif self._has_vector(key) or not ignore_missing:
                mean += np.float32(weight) * self.get_vector(key, norm=pre_normalize)
            else:
                continue
            total += abs(weight)
        if total > 0:
            mean /= np.float32(total)
        return _unit(mean) if post_normalize else mean

    def _has_vector(self, key: Key) -> bool:
        return self.has_index_for(key)

    def _checked(self, vector: Array) -> Array:
        if vector.shape != (self.vector_size,):
            raise ValueError(
                f"vector: expected shape [{self.vector_size}], got {list(vector.shape)}"
            )
        return vector.astype(np.float32)

    # Similarity.

    def most_similar(
        self,
        positive: Keys | None = None,
        negative: Keys | None = None,
        topn: int | None = 10,
        restrict_vocab: int | None = None,
    ) -> Found | Array:
        """Words whose vectors have the largest cosine with a sum of others.

        Args:
            positive: words or places, whose vectors are added at length one, or vectors, which
                are added as they are; or pairs of these and weights.
            negative: likewise, subtracted.
            topn: how many words; ``None`` for the cosines of all, ``[V]``.
            restrict_vocab: look at the first words only.

        Returns:
            Words and cosines, the largest first, without the words given.
        """
        plus, minus = _listed(positive), _listed(negative)
        if not plus and not minus:
            raise ValueError("most_similar: expected at least one word, got none")
        keys = [*plus, *((key, -weight) for key, weight in minus)]
        mean = self.get_mean_vector(keys, post_normalize=True, ignore_missing=False)
        cosines = self.get_normed_vectors()[:restrict_vocab] @ mean
        return cosines if topn is None else self._best(cosines, topn, keys)

    def most_similar_cosmul(
        self,
        positive: Keys | None = None,
        negative: Keys | None = None,
        topn: int | None = 10,
        restrict_vocab: int | None = None,
    ) -> Found | Array:
        """The same by products of similarities in place of sums.

        Reference:
            Levy & Goldberg, Linguistic regularities in sparse and explicit word representations,
            2014.
        """
        plus, minus = _listed(positive), _listed(negative)
        if not plus and not minus:
            raise ValueError("most_similar_cosmul: expected at least one word, got none")
        normed = self.get_normed_vectors()[:restrict_vocab]

        def product(keys: Sequence[tuple[Key, float]]) -> Array:
            scores = np.ones(len(normed), np.float32)
            for key, _ in keys:
                raw = self._checked(key) if isinstance(key, np.ndarray) else self.get_vector(key)
                scores *= (1 + normed @ _unit(raw)) / 2
            return scores

        scores = product(plus) / (product(minus) + np.float32(1e-6))
        return scores if topn is None else self._best(scores, topn, [*plus, *minus])

    def _best(self, scores: Array, topn: int, without: Iterable[tuple[Key, float]] = ()) -> Found:
        if isinstance(topn, bool) or not isinstance(topn, int | np.integer):
            raise TypeError(f"topn: expected an integer, got {type(topn).__name__}")
        left_out = {self._place(key) for key, _ in without if not isinstance(key, np.ndarray)}
        count = min(max(topn, 0) + len(left_out), len(scores))
        if topn < 1 or count < 1:
            return []
        best = np.argpartition(-scores, count - 1)[:count]
        best = best[np.argsort(-scores[best], kind="stable")].tolist()
        kept = [place for place in best if place not in left_out][:topn]
        return [(self.index_to_key[place], float(scores[place])) for place in kept]

    def similar_by_word(
        self, word: Key, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Found | Array:
        """Words most similar to one."""
        return self.most_similar([word], topn=topn, restrict_vocab=restrict_vocab)

    similar_by_key = similar_by_word

    def similar_by_vector(
        self, vector: Array, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Found | Array:
        """Words whose vectors are most similar to ``vector`` ``[D]``."""
        return self.most_similar([np.asarray(vector)], topn=topn, restrict_vocab=restrict_vocab)

    def similarity(self, a: Key, b: Key) -> float:
        """Cosine of the vectors of two words."""
        return float(self.get_vector(a, norm=True) @ self.get_vector(b, norm=True))

    def distance(self, a: Key, b: Key) -> float:
        """One less the cosine."""
        return 1.0 - self.similarity(a, b)

    def distances(self, word: Key, others: Sequence[Key] = ()) -> Array:
        """The distances of a word from others ``[N]``, or from all ``[V]``."""
        vector = word if isinstance(word, np.ndarray) else self.get_vector(word)
        normed = _unit(self[others]) if len(others) else self.get_normed_vectors()
        return np.asarray(1 - normed @ _unit(vector))

    def n_similarity(self, a: Sequence[Key], b: Sequence[Key]) -> float:
        """Cosine of the means of the vectors of two lists of words."""
        if not (len(a) and len(b)):
            raise ZeroDivisionError("n_similarity: expected at least one word on each side")
        means = [
            self.get_mean_vector(list(keys), pre_normalize=False, ignore_missing=False)
            for keys in (a, b)
        ]
        return float(_unit(means[0]) @ _unit(means[1]))

    def doesnt_match(self, words: Sequence[str]) -> str:
        """The word whose vector is farthest from the mean of all; unknown ones are left out."""
        known = [word for word in words if self._has_vector(word)]
        if not known:
            raise ValueError("doesnt_match: expected at least one known word, got none")
        normed = _unit(self[known])
        return known[int((normed @ _unit(normed.mean(0))).argmin())]

    def most_similar_to_given(self, word: Key, words: Sequence[str]) -> str:
        """Which of ``words`` is most similar to ``word``."""
        return words[int(np.argmax([self.similarity(word, other) for other in words]))]

    def closer_than(self, a: Key, b: Key) -> list[str]:
        """All words that are more similar to ``a`` than ``b`` is."""
        far = self.distances(a)
        limit, own = float(self.distances(a, [b])[0]), self._place(a)
        near = np.flatnonzero(far < limit).tolist()
        return [self.index_to_key[place] for place in near if place not in (own, self._place(b))]

    def rank(self, a: Key, b: Key) -> int:
        """The place of ``b`` among the words most similar to ``a``, from one on."""
        return len(self.closer_than(a, b)) + 1

    # Evaluation.

    def _folded(self, restrict_vocab: int | None, fold: Callable[[str], str]) -> dict[str, int]:
        """The first place of each word of the first ``restrict_vocab``, as ``fold`` writes it."""
        first: dict[str, int] = {}
        for place, word in enumerate(self.index_to_key[:restrict_vocab]):
            first.setdefault(fold(word), place)
        return first

    def evaluate_word_pairs(
        self,
        pairs: PathLike | Iterable[str],
        delimiter: str = "\t",
        encoding: str = "utf8",
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[Correlation, Correlation, float]:
        """How well cosines agree with people's judgement of the similarity of words.

        Args:
            pairs: a file, or its lines: two words and a number, apart by ``delimiter``. Lines with
                ``#`` in front are comments; a first line without a number is a heading.
            delimiter: between the fields.
            encoding: of the file.
            restrict_vocab: take the first words only.
            case_insensitive: take words as the same that differ in case; the first one counts.
            dummy4unknown: count pairs with unknown words as similarity zero, not leave them out.

        Returns:
            Pearson's and Spearman's correlation, and the percentage of pairs with unknown words.
        """
        fold = str.upper if case_insensitive else str
        places = self._folded(restrict_vocab, fold)
        judged: list[float] = []
        found: list[float] = []
        unknown = 0
        for number, line in enumerate(_lines(pairs, encoding), 1):
            if not line.strip() or line.startswith("#"):
                continue
            fields = [field.strip() for field in line.split(delimiter)]
            try:
                a, b, score = fold(fields[0]), fold(fields[1]), float(fields[2])
            except (IndexError, ValueError):
                if number == 1 or (not judged and not unknown):
                    continue
                raise ValueError(
                    f"evaluate_word_pairs: line {number}: expected two words and a number, "
                    f"got {line.strip()[:60]!r}"
                ) from None
            known = a in places and b in places
            unknown += not known
            if known or dummy4unknown:
                judged.append(score)
                found.append(self.similarity(places[a], places[b]) if known else 0.0)
        if len(judged) < 2:
            raise ValueError(f"evaluate_word_pairs: expected two known pairs, got {len(judged)}")
        x, y = np.array(judged), np.array(found)
        total = len(judged) + (0 if dummy4unknown else unknown)
        return pearson(x, y), pearson(ranks(x), ranks(y)), 100 * unknown / total

    def evaluate_word_analogies(
        self,
        analogies: PathLike | Iterable[str],
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[float, list[dict[str, Any]]]:
        """How often the word nearest to ``b - a + c`` is ``d``.

        Args:
            analogies: a file, or its lines: four words ``a b c d``; a line ``: name`` begins a
                section.
            restrict_vocab: take the first words only.
            case_insensitive: take words as the same that differ in case.
            dummy4unknown: count questions with unknown words as wrong, not leave them out.

        Returns:
            The share of right answers, and of each section and then of all a dict with
            ``section``, and ``correct`` and ``incorrect`` questions.
        """
        fold = str.upper if case_insensitive else str
        places = self._folded(restrict_vocab, fold)
        same: dict[int, list[int]] = {}
        for place, word in enumerate(self.index_to_key[:restrict_vocab]):
            same.setdefault(places[fold(word)], []).append(place)
        sections: list[dict[str, Any]] = []
        asked: list[tuple[dict[str, Any], tuple[str, ...], list[int]]] = []
        for number, line in enumerate(_lines(analogies, "utf8"), 1):
            if line.startswith(": "):
                name = line[2:].strip()
                sections.append({"section": name, "correct": [], "incorrect": []})
                continue
            if not line.strip():
                continue
            question = tuple(fold(word) for word in line.split())
            if not sections or len(question) != 4:
                raise ValueError(
                    f"evaluate_word_analogies: line {number}: expected four words after the "
                    f"name of a section, got {line.strip()[:60]!r}"
                )
            if all(word in places for word in question):
                asked.append((sections[-1], question, [places[word] for word in question]))
            elif dummy4unknown:
                sections[-1]["incorrect"].append(question)
        normed = self.get_normed_vectors()[:restrict_vocab]
        for start in range(0, len(asked), _LINES):
            part = asked[start : start + _LINES]
            a, b, c, _ = np.array([ids for *_, ids in part]).T
            cosines = _unit(normed[b] - normed[a] + normed[c]) @ normed.T
            for row, (section, question, ids) in zip(cosines, part, strict=True):
                for place in ids[:3]:
                    row[same[place]] = -np.inf
                right = int(row.argmax()) in same[ids[3]]
                section["correct" if right else "incorrect"].append(question)
        total = {
            "section": "Total accuracy",
            "correct": [one for section in sections for one in section["correct"]],
            "incorrect": [one for section in sections for one in section["incorrect"]],
        }
        count = len(total["correct"]) + len(total["incorrect"])
        score = len(total["correct"]) / count if count else 0.0
        return score, [*sections, total]

    # Files.

    def save_word2vec_format(
        self, path: PathLike, binary: bool = False, write_header: bool = True
    ) -> None:
        """Write the words and vectors as word2vec does.

        Args:
            path: compressed if it ends in ``.gz``; it appears when it is complete.
            binary: numbers as bytes rather than as text.
            write_header: whether the first line tells how many words there are.
        """
        target = Path(path)
        if target.is_dir():
            raise IsADirectoryError(f"{target}: is a folder, expected a file")
        fresh = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        vectors = np.ascontiguousarray(self.vectors)
        compressed = target.suffix == ".gz"
        try:
            _kernels.word2vec_save(
                fresh, self.index_to_key, vectors, binary, not write_header, compressed
            )
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def load_word2vec_format(
        cls,
        path: PathLike,
        binary: bool = False,
        limit: int | None = None,
        no_header: bool = False,
    ) -> "KeyedVectors":
        """Read a file of word2vec, fastText (``.vec``) or, without header, GloVe.

        Args:
            path: compressed or not.
            binary: whether numbers are bytes.
            limit: read the first words only.
            no_header: the first line already has a word.

        Raises:
            ValueError: the file is broken; the message says where and how.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"load_word2vec_format: limit: expected at least 0, got {limit}")
        words, vectors = _kernels.word2vec_load(path, binary, no_header, limit)
        first = {word: place for place, word in reversed(list(enumerate(words)))}
        if len(first) < len(words):
            # Of words that a file has twice, as some do, the first counts.
            kept = sorted(first.values())
            words, vectors = [words[place] for place in kept], vectors[kept]
        return KeyedVectors(words, vectors)

    def save(self, folder: PathLike) -> None:
        """Write the words and vectors as a folder of ``config.json`` and ``model.safetensors``."""
        tensors = {
            "vectors": np.ascontiguousarray(self.vectors),
            **pack_words(self.index_to_key, self.counts),
        }
        write_model(folder, {"class": "KeyedVectors"}, tensors)

    @classmethod
    def load(cls, folder: PathLike) -> "KeyedVectors":
        """Read what :meth:`save` wrote.

        Raises:
            FormatError: the folder holds something else or is broken.
        """
        path, _, tensors = read_model(folder, ("KeyedVectors",))
        words, counts = unpack_words(path, tensors)
        vectors = tensors.get("vectors")
        if vectors is None or vectors.dtype != np.float32 or vectors.shape[:1] != (len(words),):
            raise files.FormatError(path, "expected float32 vectors, one for each word")
        return KeyedVectors(words, vectors, counts)


# Arithmetic.


def _unit(vectors: Array) -> Array:
    """Each row at length one; rows of zeros stay so."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), np.float32)


def _listed(keys: Keys | None) -> list[tuple[Key, float]]:
    """Keys with their weights."""
    if keys is None:
        return []
    if isinstance(keys, str | int | np.integer) or (
        isinstance(keys, np.ndarray) and keys.ndim == 1
    ):
        return [(keys, 1.0)]
    listed: list[tuple[Key, float]] = []
    for key in keys:
        weighted = isinstance(key, tuple)
        listed.append((key[0], float(key[1])) if weighted else (key, 1.0))  # type: ignore
    return listed


def _lines(source: PathLike | Iterable[str], encoding: str) -> Iterator[str]:
    if not isinstance(source, str | os.PathLike):
        yield from source
        return
    opened = gzip.open if os.fspath(source).endswith(".gz") else open
    with opened(source, "rt", encoding=encoding) as file:
        yield from file
