"""What training minimises: CTC's loss, that of mutual information, and two views' disagreement."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asr.batching import Batch
from asr.model import Emissions
from asr.training.denominator import TokenTrigram, log_partition


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


class Objective:
    """The loss of utterances, in training and in validation alike.

    Args:
        mmi: Share of the loss that asks for the transcript among all others, in [0, 1].
        trigram: Of the training transcripts, on the device of the model; None for CTC alone.
    """

    def __init__(self, mmi: float = 0.0, trigram: TokenTrigram | None = None) -> None:
        self._mmi, self._trigram = mmi, trigram

    def losses(self, emissions: Emissions, batch: Batch) -> Tensor:
        """Loss of each utterance.

        Args:
            emissions: log_probs (batch, max_frames, vocab_size), natural log.
            batch: Targets without blanks.

        Returns:
            (batch,) nats: CTC's, plus `mmi` times what the others weigh against the transcript.
        """
        losses = ctc_losses(emissions, batch)
        if self._trigram is None:
            return losses
        every = log_partition(emissions.log_probs, emissions.lengths, self._trigram)
        return losses + self._mmi * (every - self._trigram.log_probs(batch))


def consistency_losses(emissions: Emissions) -> Tensor:
    """How far the two views of each utterance disagree, summed over its frames.

    Half the sum of both Kullback-Leibler divergences between the views' distributions of a frame;
    each view is drawn towards the other, which counts as fixed (Yao et al. 2024, CR-CTC, eq. 4).

    Args:
        emissions: (2 * batch, max_frames, vocab_size): the first views of a batch, then the second
            views in the same order, with the same lengths.

    Returns:
        (batch,) nats, at least 0.
    """
    first, second = emissions.log_probs.float().chunk(2)
    # KL(q || p) with q fixed, both ways at once: the sum over tokens of q (log q - log p).
    towards_first = F.kl_div(second, first.detach(), reduction="none", log_target=True)
    towards_second = F.kl_div(first, second.detach(), reduction="none", log_target=True)
    divergences = (towards_first + towards_second).sum(dim=2)
    frames = torch.arange(first.shape[1], device=first.device)
    padding = frames >= emissions.lengths[: len(first), None].to(first.device)
    return 0.5 * divergences.masked_fill(padding, 0.0).sum(dim=1)
