"""Tokens: what the model outputs, and the way from text to indices and back.

Index 0 is the blank in every vocabulary. Three kinds:

* ``char``: Unicode code points, the space among them. Combining marks are tokens of their own: a
  script such as Devanagari then needs some seventy tokens instead of the thousands of graphemes
  it can form, and joining the code points gives the text back exactly.
* ``word``: whole words, for commands and other closed vocabularies.
* ``bpe``: subword pieces by byte-pair encoding (sentencepiece).

`decode` joins words by single spaces, so it is the inverse of `encode` on text that
`text.normalize` made, and gives clean text for any sequence a decoder comes up with.
"""

from asr.tokens.bpe import BOUNDARY, MAX_PROTO_BYTES
from asr.tokens.tokenizers import (
    BLANK_TOKEN,
    BpeTokenizer,
    CharTokenizer,
    Tokenizer,
    TokensConfig,
    WordSpan,
    WordTokenizer,
    build_tokenizer,
    tokenizer_from_dict,
)

__all__ = [
    "BLANK_TOKEN",
    "BOUNDARY",
    "MAX_PROTO_BYTES",
    "BpeTokenizer",
    "CharTokenizer",
    "Tokenizer",
    "TokensConfig",
    "WordSpan",
    "WordTokenizer",
    "build_tokenizer",
    "tokenizer_from_dict",
]
