"""Plain words for what goes wrong in CTC training, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from asr.errors import TrainingError


def require_finite_losses(losses: Tensor, ids: Sequence[str], step: int) -> None:
    """Stop when the loss of any utterance is NaN or infinite.

    Args:
        losses: (batch,) negative log-probabilities, nats.
        ids: The utterances, in the same order.
        step: For the message.

    Raises:
        TrainingError: Naming the utterances with such a loss.
    """
    finite = torch.isfinite(losses)
    if bool(finite.all()):
        return
    bad = [f"{ids[row]} ({losses[row].item()})" for row in torch.nonzero(~finite).flatten()]
    raise TrainingError(
        f"the loss at step {step} is not finite for {len(bad)} of {len(ids)} utterances: "
        + ", ".join(bad[:8]),
        hint="look at their audio and transcripts; if all fail at once, lower optim.learning_rate",
    )


def require_finite_gradient(norm: Tensor, ids: Sequence[str], step: int) -> None:
    """Stop when the gradient is NaN or infinite, before it reaches the weights.

    Raises:
        TrainingError: Naming the utterances of the batch.
    """
    if bool(torch.isfinite(norm)):
        return
    raise TrainingError(
        f"the gradient at step {step} is not finite ({norm.item()}) though the losses are; "
        f"the batch held {len(ids)} utterances: {', '.join(ids[:8])}",
        hint="lower optim.learning_rate, or train with training.precision=float32",
    )


class CollapseWatch:
    """Notices a model that emits nothing but blanks for longer than CTC training usually does.

    Every CTC model passes through such a phase first: blank is the cheapest guess while nothing is
    known. It ends within the first few hundred to two thousand steps, or it does not end.
    """

    def __init__(self, patience_steps: int) -> None:
        self._patience_steps = patience_steps
        self._explained_at = 0
        self.last_token_step = 0

    def update(self, step: int, emitted_token: bool) -> bool:
        """Take whether any frame since the last call preferred a token to the blank.

        Returns:
            True when the collapse should be explained now: once each `patience_steps`.
        """
        if emitted_token:
            self.last_token_step = step
        since = step - max(self.last_token_step, self._explained_at)
        if since < self._patience_steps:
            return False
        self._explained_at = step
        return True

    def explanation(self, step: int, loss: float, rate: float, frames_per_token: float) -> str:
        """What is seen, what it means, and what to try.

        Args:
            step: The present step.
            loss: Mean loss per target token, nats.
            rate: The present learning rate.
            frames_per_token: Output frames for each target token in the last batch.
        """
        lines = [
            f"blank collapse: for {step - self.last_token_step} steps every frame of every "
            f"utterance has been blank (loss {loss:.2f} nats per token, learning rate "
            f"{rate:.1e}, {frames_per_token:.1f} output frames per token). Try, in this order:",
            "  - check that transcripts belong to their audio: listen to a few",
        ]
        if frames_per_token < 2.5:
            lines.append(
                "  - lower model.subsampling: CTC has hardly more frames than tokens to place"
            )
        elif frames_per_token > 20:
            lines.append(
                "  - raise model.subsampling, or trim silence: frames are nearly all blank"
            )
        lines.append("  - a learning rate 3 times lower, and a longer optim.warmup_fraction")
        lines.append("  - less SpecAugment and dropout until the loss moves, then more again")
        lines.append("  - smaller batches (batching.max_batch_s): more steps an epoch")
        return "\n".join(lines)

    def ending(self, step: int, enough_steps: int) -> str | None:
        """What is said of a run that ends with nothing but blanks; None of any other.

        Args:
            step: Steps of the whole run.
            enough_steps: So many steps of blanks, or a whole run of them, are worth a word.
        """
        num_silent = step - self.last_token_step
        if num_silent < min(step, enough_steps):
            return None
        return (
            f"the run ended with nothing but blanks, for the last {num_silent} of its {step} "
            "steps: the model writes nothing. CTC models begin so, for a few hundred to two "
            "thousand steps: give it more training.epochs, or smaller batches "
            "(batching.max_batch_s), which make more steps of an epoch; training.start_from "
            "another model makes that phase short"
        )


POOR_WER = 0.9
"""A model with so many words wrong has learnt next to nothing."""


def poor_ending(step: int, wer: float, from_scratch: bool) -> str | None:
    """What is said of a run that writes tokens, but hardly a right word; None of any other.

    Args:
        step: Steps of the whole run.
        wer: Of the best weights on the development set.
        from_scratch: Whether it began with random weights.
    """
    if wer < POOR_WER:
        return None
    if from_scratch:
        cure = (
            "CTC models take a few thousand steps from random weights, and letters take more than "
            "a few minutes of speech: begin with training.start_from=en or another model, take "
            "tokens.kind=word for a dozen words, or more steps: more training.epochs, or smaller "
            "batches (batching.max_batch_s)"
        )
    else:
        cure = (
            "take more training.epochs, or smaller batches (batching.max_batch_s), which make more "
            "steps of an epoch, and listen to a few utterances: do transcripts belong to them?"
        )
    wrong = f"the run ended with {100 * wer:.0f} % of the development words wrong"
    return f"{wrong} after {step} steps: {cure}"
