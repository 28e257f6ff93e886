"""How numba compiles a function that only compiled functions call: types alone, no machine code.

Numba optimises such a function by itself and makes machine code of it; each of its callers holds
a copy, which is optimised once more and of which machine code is made again, and so on up to the
function that Python calls. Here the former is left out. What a call of the outermost function
costs stays as it is; compiling the beam search takes two thirds of the time.

Nothing of this is of numba's documented interface but the way in, `pipeline_class` and passes.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.typed_passes import AnnotateTypes, NativeLowering


class InnerLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that is there to be linked into that of callers, and to be kept for them on disk."""

    def _optimize_final_module(self) -> None:
        """Nothing: the callers' modules hold all of this one, and are optimised."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def serialize_using_object_code(self) -> Any:
        """As bitcode, since there is no machine code."""
        return self.serialize_using_bitcode()


@register_pass(mutates_CFG=True, analysis_only=False)
class _UseInnerLibrary(LoweringPass):  # type: ignore[misc]
    """Lower into an `InnerLibrary`, without a wrapper for Python, and leave it unfinished."""

    _name = "asr_use_inner_library"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        name = state.func_id.func_qualname
        state.library = InnerLibrary(state.targetctx.codegen(), name)
        state.library.enable_object_caching()
        # Only now: functions of numba's that others use as well are compiled once for equal flags.
        state.flags.no_compile = state.flags.no_cpython_wrapper = True
        return False


@register_pass(mutates_CFG=True, analysis_only=False)
class _FinishInnerLibrary(LoweringPass):  # type: ignore[misc]
    """What lowering does with what is to be compiled, without a place that Python could call."""

    _name = "asr_finish_inner_library"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        library, lowered = state.library, state.cr
        library.finalize()
        module, name = lowered.fndesc.lookup_module(), state.func_id.func_name
        key = _dynfunc.make_function(module, name, "", 0, lowered.env, (library,))
        state.targetctx.insert_user_function(key, lowered.fndesc, [library])
        state.cr = lowered._replace(cfunc=key)
        return True


class InnerCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's pipeline, for functions that Python does not call."""

    def define_pipelines(self) -> list[Any]:
        """One that compiles, and none that falls back on Python's objects."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_UseInnerLibrary, AnnotateTypes)
        passes.add_pass_after(_FinishInnerLibrary, NativeLowering)
        passes.finalize()
        return [passes]
