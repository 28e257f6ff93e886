"""How the development set is decoded while training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tones import wer_after

from asr.errors import ConfigError, DataError


def test_a_beam_search_can_choose_the_checkpoints(tones: dict[str, Any], tmp_path: Path) -> None:
    validation = {"decoder": "beam", "beam": {"beam_width": 8}}
    assert wer_after({**tones, "validation": validation}, tmp_path) < 0.1


@pytest.mark.parametrize("search", [{"lm": "tokens.arpa"}, {"beam": {"beam_width": 8}}])
def test_greedy_decoding_refuses_what_only_a_search_would_use(
    tones: dict[str, Any], tmp_path: Path, search: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"neither validation\.lm .* validation\.decoder=beam"):
        wer_after({**tones, "validation": search}, tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_a_language_model_of_other_tokens_is_refused_before_training(
    tones: dict[str, Any], tmp_path: Path
) -> None:
    """The tokens of the tones are words; this model knows letters only."""
    lm = tmp_path / "letters.arpa"
    unigrams = "".join(f"-1\t{word}\t0\n" for word in ("<unk>", "<s>", "</s>", "a"))
    lm.write_text(f"\\data\\\nngram 1=4\n\n\\1-grams:\n{unigrams}\n\\end\\\n")
    validation = {"decoder": "beam", "lm": str(lm)}
    with pytest.raises(DataError, match=r"lacks the token .ba. and 2 more"):
        wer_after({**tones, "validation": validation}, tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()
