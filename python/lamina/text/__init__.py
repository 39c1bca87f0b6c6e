"""Tokenizers and texts. Tokenizers read and write Hugging Face's ``tokenizer.json``."""

from lamina.text.corpus import decode_text, read_text, shakespeare, split_text
from lamina.text.tokenizer import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

__all__ = [
    "BPETokenizer",
    "CharTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "decode_text",
    "read_text",
    "shakespeare",
    "split_text",
]
