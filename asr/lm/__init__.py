"""Language models: the seam decoders see, and n-gram models that are built, read and queried.

`asr.lm` itself holds the protocol only, so that importing it costs nothing. The rest, by module:
`ngram` (`NgramModel`, `advance`), `arpa` (`read_arpa`, `write_arpa`), `binary` (`read_binary`,
`write_binary`), `files` (either, by content), `kneser_ney` (`build_model`), `perplexity`, `mixing`
(`interpolate_models`, `adapt`) and `pruning`.
"""

from asr.lm.protocol import LanguageModel, ZeroLM

__all__ = ["LanguageModel", "ZeroLM"]
