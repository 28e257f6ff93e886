"""The architecture: which way imports point, what loads without PyTorch, and how big things get."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "asr"

# Imports point strictly down this table, from a later row to an earlier one. It refines the rows of
# the design page. A component (module or package of `asr`) stands as low as its imports let it, for
# the lower it stands, the less it may come to import; within a package imports are free.
LAYERS = (
    {"errors"},
    # Each of these stands alone: no audio, no tensors.
    {"files", "config", "ctc", "jsonl", "progress", "threads", "wer"},
    # One subject each, with its options. Scoring compares texts, whoever recognised them.
    {
        "text",
        "tokens",
        "audio",
        "lm",
        "normalizing",
        "optim",
        "evaluation",
        "plots",
        "shipped",
        "transcripts",
    },
    # Manifests check audio against tokens; synthesis makes audio; the others are normalised texts.
    {"manifest", "prose", "synthesis", "word_files"},
    # The stages. Decoding sees log-probabilities and a tokenizer, never the model.
    {
        "corpora",
        "features",
        "augment",
        "model",
        "decoding",
        "alignment",
        "audio_cache",
        "pronouncing",
    },
    {"batching", "checkpoint", "decoder_setup", "tensor_decoding", "tuning"},
    # The options above, composed, and the functions that build from them.
    {"experiment"},
    # A model file with all that it needs, from audio to hypotheses.
    {"recognizer"},
    {"cutting", "model_evaluation", "model_packing", "model_tuning", "training"},
    {"model_adaptation"},  # cuts, trains and evaluates
    # One file a verb; `recipe` chains verbs and prints errors as the command line does.
    {"cli"},
    {"recipe", "__main__"},
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

# Loaded by scoring, preparing and `--help`: none may import torch when it is itself imported.
TORCH_FREE = {
    *("errors", "files", "config", "ctc", "jsonl", "lm", "progress", "transcripts", "wer"),
    *(
        "text",
        "tokens",
        "audio",
        "manifest",
        "synthesis",
        "corpora",
        "decoding",
        "evaluation",
        "shipped",
        "word_files",
        "pronouncing",
        "decoder_setup",
        "tuning",
        "cli",
    ),
}

FILE_LINES, BODY_LINES, TEST_SHARE = 500, 60, 0.8

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def component(module: str) -> str:
    """First name below `asr`; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Every module an AST imports: at the top, inside functions, under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write `from asr.…`"
            assert node.module is not None
            # `from asr import ctc` imports asr.ctc; `from asr import __version__` a plain name.
            names = [alias.name for alias in node.names] if node.module == "asr" else []
            yield from (f"asr.{name}" for name in names if name != "__version__")
            if not names:
                yield node.module


def violations(source: str, module: str) -> list[str]:
    """Imports of a module's source that the table does not allow."""
    own, found = component(module), []
    for name in imported_modules(ast.parse(source)):
        top = name.split(".")[0]
        if top in ("recipes", "tests", "tools"):
            found.append(f"{module} imports {name}, which is outside the package")
        if top != "asr" or component(name) == own:
            continue
        if LEVELS.get(component(name), len(LAYERS)) >= LEVELS.get(own, -1):
            found.append(f"{module} imports {name}, which is not below it")
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_strictly_down(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8"), module_name(path)) == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from asr.training import train", "asr.decoding.greedy"),
        ("import asr.model", "asr.decoding"),
        ("from asr import model", "asr.decoding"),
        ("def f():\n    from asr.cli.score import score", "asr.evaluation"),
        ("if TYPE_CHECKING:\n    from asr.recognizer import Recognizer", "asr.decoding.types"),
        ("from asr.config import Options", "asr.files"),
        ("from asr.nowhere import x", "asr.cli.score"),
        ("from asr.errors import AsrError", "asr"),
        ("import recipes.digits", "asr.recipe"),
        ("from tests.reference import collapse", "asr.decoding"),
    ],
)
def test_the_rule_bites(source: str, module: str) -> None:
    assert len(violations(source, module)) == 1


def test_what_the_rule_allows() -> None:
    source = "from asr import __version__, ctc\nfrom asr.decoding.types import Word\nimport numpy"
    assert violations(source, "asr.decoding.greedy") == []


def test_every_module_has_a_layer_and_no_row_is_stale() -> None:
    components = {component(module_name(path)) for path in FILES} - {""}
    assert components == set(LEVELS)
    assert set(LEVELS) >= TORCH_FREE
    assert sum(map(len, LAYERS)) == len(LEVELS), "a component stands in two rows"


def test_what_scores_and_prepares_loads_without_torch() -> None:
    modules = [name for name in map(module_name, FILES) if component(name) in TORCH_FREE]
    assert len(modules) > 10
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if {'torch', 'torchaudio'} & set(sys.modules):\n"
        "        sys.exit(f'{name} imports torch')\n"
    )
    command = [sys.executable, "-c", script, *modules]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    has_docstring = ast.get_docstring(function, clean=False) is not None
    body = function.body[1:] if has_docstring else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_stay_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= FILE_LINES
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert {f.name: body_length(f) for f in functions if body_length(f) > BODY_LINES} == {}


def test_no_file_is_a_drawer_for_everything() -> None:
    assert [path for path in FILES if path.stem in ("utils", "util", "helpers", "misc")] == []


def test_there_are_enough_tests() -> None:
    def num_lines(paths: Iterator[Path] | list[Path]) -> int:
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    assert num_lines((ROOT / "tests").rglob("*.py")) >= TEST_SHARE * num_lines(FILES)
