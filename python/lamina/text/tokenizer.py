"""Tokenizers: text to ids and back."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lamina import _kernels, files

Ids = npt.NDArray[np.int64]

UNKNOWN = "<unk>"
_FILE = "tokenizer.json"
_LARGEST = 1 << 30
_REPLACEMENT = "\ufffd"
_CODE_POINTS = 0x110000
# Two patterns that every regular-expression engine reads alike.
_ANY_CHARACTER = r"[\s\S]"
_WORD_OR_NEWLINE = "\n|[^ \t\n\x0b\x0c\r]+"


class Tokenizer:
    """Maps texts to int64 ids and back, by the rules of a ``tokenizer.json``.

    Made by :meth:`from_pretrained` or by the ``train`` of a subclass. Ids go from 0 up. Padding and
    truncation that a file asks for are kept when it is saved but not carried out.

    Args:
        core: the rules.
    """

    def __init__(self, core: _kernels.Tokenizer) -> None:
        self._core = core

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self._core.vocab_size

    def encode(self, text: str, *, add_special_tokens: bool = True) -> Ids:
        """Ids ``[L]`` of a text.

        Args:
            text: any text; special tokens written in it become their ids.
            add_special_tokens: whether to add what the file says surrounds a text, as ``[CLS]``.
        """
        return self._core.encode([_checked("encode", text)], add_special_tokens)[0]

    def encode_batch(self, texts: Iterable[str], *, add_special_tokens: bool = True) -> list[Ids]:
        """Ids of each text, on all threads."""
        if isinstance(texts, str):
            raise TypeError("encode_batch: texts: expected several texts, got one str")
        return self._core.encode([_checked("encode_batch", t) for t in texts], add_special_tokens)

    def decode(self, ids: npt.ArrayLike, *, skip_special_tokens: bool = False) -> str:
        """Text of the ids ``[L]``.

        Raises:
            ValueError: an id has no token.
        """
        return self._core.decode(_ids(ids), skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        """Id of a token, ``None`` where there is no such token."""
        return self._core.token_to_id(token)

    def id_to_token(self, id: int) -> str | None:
        """Token of an id, ``None`` where there is no such id."""
        return self._core.id_to_token(id)

    def vocab(self) -> dict[str, int]:
        """Ids by token."""
        return self._core.vocab()

    def to_json(self) -> str:
        """Text of the ``tokenizer.json``."""
        return self._core.to_json()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``tokenizer.json`` into a folder, or to a path that ends in ``.json``.

        Returns:
            The file written.
        """
        target = Path(path)
        if target.suffix != ".json":
            target.mkdir(parents=True, exist_ok=True)
            target = target / _FILE
        files.write_file(target, self.to_json())
        return target

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> Self:
        """Read ``tokenizer.json`` from a folder or a file.

        Returns:
            The subclass that wrote it, where it is one of this module's.

        Raises:
            FormatError: the file is broken; the message names it and the reason.
            FileNotFoundError: there is no such file.
        """
        file = Path(path)
        if not file.is_file():
            folder = files.find_folder(file)
            file = folder / _FILE
            if not file.is_file():
                raise FileNotFoundError(f"{folder}: holds no {_FILE}")
            files.check_folder(folder, {_FILE})
        if file.stat().st_size > _LARGEST:
            raise files.FormatError(file, f"has more than {_LARGEST} bytes")
        try:
            text = file.read_bytes().decode()
            return cls.from_json(text)
        except UnicodeDecodeError as error:
            reason: object = f"is not UTF-8 text: bad byte at offset {error.start}"
        except ValueError as error:
            reason = str(error).removeprefix(f"{_FILE}: ")
        raise files.FormatError(file, reason)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the text of a ``tokenizer.json``.

        Raises:
            ValueError: it is broken, or not of the class this was called on.
        """
        core = _kernels.Tokenizer.from_json(text)
        kind = _kind(text)
        if not issubclass(kind, cls):
            raise ValueError(f"{_FILE}: expected a {cls.__name__}, got a {kind.__name__}")
        return kind(core)

    def __len__(self) -> int:
        return self.vocab_size

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"


class CharTokenizer(Tokenizer):
    """One id for each character; the last id, ``<unk>``, is any other and decodes to U+FFFD."""

    def __init__(self, core: _kernels.Tokenizer) -> None:
        super().__init__(core)
        vocab = core.vocab()
        self._unknown = vocab.pop(UNKNOWN)
        ids = np.fromiter(vocab.values(), np.int64, len(vocab))
        points = np.fromiter(map(ord, vocab), np.int64, len(vocab))
        self._to_id = np.full(_CODE_POINTS, self._unknown, np.int64)
        self._to_id[points] = ids
        self._to_point = np.full(len(vocab) + 1, ord(_REPLACEMENT), "<u4")
        self._to_point[ids] = points

    @classmethod
    def train(cls, text: str | Iterable[str]) -> Self:
        """The characters of the text in the order of their code points.

        Raises:
            ValueError: there is no text, or it holds half of a surrogate pair.
        """
        characters: set[str] = set()
        for part in _parts("CharTokenizer", text):
            characters.update(_checked("CharTokenizer", part))
        vocab = {c: i for i, c in enumerate(sorted(characters))}
        vocab[UNKNOWN] = len(vocab)
        rules = _word_level(vocab, _ANY_CHARACTER, "Isolated", invert=False)
        replace = {"type": "Replace", "pattern": {"String": UNKNOWN}, "content": _REPLACEMENT}
        rules["decoder"] = {"type": "Sequence", "decoders": [replace, {"type": "Fuse"}]}
        return cls(_kernels.Tokenizer.from_json(json.dumps(rules)))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> Ids:
        """Ids ``[L]``, one for each character; ``add_special_tokens`` has nothing to add."""
        del add_special_tokens
        if not isinstance(text, str):
            raise TypeError(f"encode: text: expected str, got {type(text).__name__}")
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        return self._to_id[points]

    def encode_batch(self, texts: Iterable[str], *, add_special_tokens: bool = True) -> list[Ids]:
        """Ids of each text."""
        del add_special_tokens
        if isinstance(texts, str):
            raise TypeError("encode_batch: texts: expected several texts, got one str")
        return [self.encode(text) for text in texts]

    def decode(self, ids: npt.ArrayLike, *, skip_special_tokens: bool = False) -> str:
        """Text of the ids ``[L]``; without ``<unk>`` where ``skip_special_tokens``."""
        array = _ids(ids)
        wrong = (array < 0) | (array >= len(self._to_point))
        if wrong.any():
            raise ValueError(
                f"[decode] ids: expected ids of the vocabulary, below {len(self._to_point)}, "
                f"got {array[wrong.argmax()]}"
            )
        if skip_special_tokens:
            array = array[array != self._unknown]
        return self._to_point[array].tobytes().decode("utf-32-le")


class WordTokenizer(Tokenizer):
    """Words between white space, and the line break as a token; other words are ``<unk>``.

    Decoding puts one space between words and none around a line break.
    """

    @classmethod
    def train(
        cls, text: str | Iterable[str], vocab_size: int | None = None, min_frequency: int = 1
    ) -> Self:
        """The most frequent words, ties in the order of the alphabet.

        Args:
            text: a text or several.
            vocab_size: largest number of tokens, ``<unk>`` among them; all where ``None``.
            min_frequency: words seen less often are left out.

        Raises:
            ValueError: there is no text, or ``vocab_size`` has no room for a word.
        """
        if vocab_size is not None and vocab_size < 2:
            raise ValueError(f"WordTokenizer: vocab_size: expected at least 2, got {vocab_size}")
        pattern = re.compile(_WORD_OR_NEWLINE)
        counts: Counter[str] = Counter()
        for part in _parts("WordTokenizer", text):
            counts.update(pattern.findall(_checked("WordTokenizer", part)))
        counts.pop(UNKNOWN, None)
        ranked = sorted((-count, word) for word, count in counts.items() if count >= min_frequency)
        words = [word for _, word in ranked[: None if vocab_size is None else vocab_size - 1]]
        vocab = {word: i for i, word in enumerate((UNKNOWN, *words))}
        rules = _word_level(vocab, _WORD_OR_NEWLINE, "Removed", invert=True)
        decoders: list[dict[str, Any]] = [
            # No word holds a space, so the prefix joins nothing and only puts spaces between.
            {"type": "WordPiece", "prefix": " ", "cleanup": False},
            {"type": "Fuse"},
            {"type": "Replace", "pattern": {"String": " \n"}, "content": "\n"},
            {"type": "Replace", "pattern": {"String": "\n "}, "content": "\n"},
        ]
        rules["decoder"] = {"type": "Sequence", "decoders": decoders}
        return cls(_kernels.Tokenizer.from_json(json.dumps(rules)))


class BPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding as in GPT-2: any text has ids and comes back unchanged.

    Reference:
        Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, 2016.
        Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
    """

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int = 4096,
        *,
        special_tokens: Sequence[str] = (),
        min_frequency: int = 2,
    ) -> Self:
        """Learn merges from a text or from several, of which few are in memory at a time.

        Ids: special tokens, then the 256 bytes, then merges, the most frequent first. The same text
        gives the same tokens.

        Args:
            text: a text or any iterable of texts.
            vocab_size: largest number of tokens; fewer where the text has no more pairs.
            special_tokens: written in a text they are one token.
            min_frequency: pairs seen less often are not merged.

        Raises:
            ValueError: there is no text, ``vocab_size`` is too small for the bytes and special
                tokens, or a special token is empty, occurs twice or is not ASCII.
        """
        if isinstance(special_tokens, str):
            raise TypeError("BPETokenizer: special_tokens: expected several, got one str")
        special = list(special_tokens)
        for token in special:
            if not token or not token.isascii() or special.count(token) > 1:
                raise ValueError(
                    f"BPETokenizer: special_tokens: expected different ASCII texts, got {token!r}"
                )
        if min_frequency < 0:
            raise ValueError(f"BPETokenizer: min_frequency: expected >= 0, got {min_frequency}")
        parts = (_checked("BPETokenizer", part) for part in _parts("BPETokenizer", text))
        least = 256 + len(special)
        if vocab_size < least:
            raise ValueError(
                f"BPETokenizer: vocab_size: expected at least {least}, got {vocab_size}"
            )
        return cls(_kernels.Tokenizer.train_bpe(parts, vocab_size, special, min_frequency))


def _parts(name: str, text: str | Iterable[str]) -> Iterable[str]:
    """The texts one by one; an error at the end where there was none."""
    empty = True
    for part in [text] if isinstance(text, str) else text:
        empty = empty and not part
        yield part
    if empty:
        raise ValueError(f"{name}: text: expected some text, got none")


def _checked(name: str, text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{name}: text: expected str, got {type(text).__name__}")
    try:
        # Free for ASCII, and the extension needs these bytes anyway.
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name}: text: half of a surrogate pair at character {error.start}"
        ) from None
    return text


def _ids(ids: npt.ArrayLike) -> Ids:
    array = np.asarray(ids)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            f"decode: ids: expected a 1-d integer array, got {array.ndim}-d {array.dtype}"
        )
    return array.astype(np.int64, copy=False)


def _word_level(
    vocab: dict[str, int], pattern: str, behavior: str, *, invert: bool
) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": behavior,
            "invert": invert,
        },
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN},
    }


def _kind(text: str) -> type[Tokenizer]:
    """The class of this module whose rules a ``tokenizer.json`` holds."""
    rules = json.loads(text)
    model, before = (_object(rules, key) for key in ("model", "pre_tokenizer"))
    plain = not any(rules.get(key) for key in ("normalizer", "post_processor", "added_tokens"))
    if model.get("type") == "WordLevel" and plain and model.get("unk_token") == UNKNOWN:
        vocab = model["vocab"]
        pattern = _object(before, "pattern").get("Regex")
        dense = sorted(vocab.values()) == list(range(len(vocab))) and UNKNOWN in vocab
        if pattern == _WORD_OR_NEWLINE and dense:
            return WordTokenizer
        if pattern == _ANY_CHARACTER and dense and all(len(t) == 1 or t == UNKNOWN for t in vocab):
            return CharTokenizer
    if model.get("type") == "BPE" and before.get("type") == "ByteLevel":
        return BPETokenizer
    return Tokenizer


def _object(rules: dict[str, Any], key: str) -> dict[str, Any]:
    value = rules.get(key)
    return value if isinstance(value, dict) else {}
