"""Tokens: what the model outputs, and the way from text to indices and back.

Index 0 is the blank in every vocabulary. Four kinds:

* ``char``: Unicode code points, the space among them. Combining marks are tokens of their own: a
  script such as Devanagari then needs some seventy tokens instead of the thousands of graphemes
  it can form, and joining the code points gives the text back exactly.
* ``word``: whole words, for commands and other closed vocabularies.
* ``bpe``: subword pieces by byte-pair encoding (sentencepiece).
* ``phone``: the sounds of a pronunciation dictionary, which becomes a part of the model. A language
  whose spelling is far from its sounds needs much less speech this way; only words of the
  dictionary can be written, and words that sound alike need a language model to tell them apart.

`decode` joins words by single spaces, so it is the inverse of `encode` on text that
`text.normalize` made, and gives clean text for any sequence a decoder comes up with.
"""

from asr.tokens.bpe import BOUNDARY, MAX_PROTO_BYTES
from asr.tokens.phones import ADD_WORDS, PhoneTokenizer, Pronunciation
from asr.tokens.tokenizers import TokensConfig, build_tokenizer, tokenizer_from_dict
from asr.tokens.types import BLANK_TOKEN, Tokenizer, WordSpan
from asr.tokens.written import (
    BpeTokenizer,
    CharTokenizer,
    WordTokenizer,
    WrittenTokenizer,
    shown_words,
)

__all__ = [
    "ADD_WORDS",
    "BLANK_TOKEN",
    "BOUNDARY",
    "MAX_PROTO_BYTES",
    "BpeTokenizer",
    "CharTokenizer",
    "PhoneTokenizer",
    "Pronunciation",
    "Tokenizer",
    "TokensConfig",
    "WordSpan",
    "WordTokenizer",
    "WrittenTokenizer",
    "build_tokenizer",
    "shown_words",
    "tokenizer_from_dict",
]
