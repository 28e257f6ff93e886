"""The CTC loss of each utterance of a batch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from asr.batching import Batch
from asr.model import Emissions


def ctc_losses(emissions: Emissions, batch: Batch) -> Tensor:
    """CTC loss of each utterance (Graves et al. 2006), in float32 and never hidden when infinite.

    Args:
        emissions: log_probs (batch, max_frames, vocab_size), natural log.
        batch: Targets without blanks.

    Returns:
        (batch,) negative log-probabilities of the transcripts, nats.
    """
    return F.ctc_loss(
        emissions.log_probs.float().transpose(0, 1),
        batch.targets,
        emissions.lengths,
        batch.target_lengths,
        blank=0,
        reduction="none",
        zero_infinity=False,
    )
