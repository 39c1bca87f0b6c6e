"""Tokenizers, which read and write Hugging Face's ``tokenizer.json``, texts and word vectors."""

import importlib
from typing import TYPE_CHECKING, Any

from lamina.text.corpus import decode_text, read_text, shakespeare, split_text
from lamina.text.tokenizer import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

if TYPE_CHECKING:
    from lamina.text.fasttext import FastText
    from lamina.text.keyed_vectors import KeyedVectors
    from lamina.text.word2vec import Word2Vec

# These load when they are first used.
_LATER = {
    "FastText": "lamina.text.fasttext",
    "KeyedVectors": "lamina.text.keyed_vectors",
    "Word2Vec": "lamina.text.word2vec",
}

__all__ = [
    "BPETokenizer",
    "CharTokenizer",
    "FastText",
    "KeyedVectors",
    "Tokenizer",
    "Word2Vec",
    "WordTokenizer",
    "decode_text",
    "read_text",
    "shakespeare",
    "split_text",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'lamina.text' has no attribute {name!r}")
