"""Losses that compare the utterances of a batch: triplet, angular-prototypical, GE2E.

Dimension legend: N utterances, D embedding dimensions, M speakers of a batch, K utterances of each.
"""

from __future__ import annotations

from dnn.extra import told_extra
from dnn.losses.classification import SpeakerLoss
from ivector.base.errors import DataError, UsageError

with told_extra():
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn


class Triplet(SpeakerLoss):
    """Cosine triplets with the negatives chosen across the batch: [s_an − s_ap + α]₊.

    C. Li et al., "Deep Speaker", 2017, equation 5. Every ordered pair of utterances of a speaker is
    an anchor and its positive, and is given one negative.

    Parameters
    ----------
    margin : float
        α.
    mining : {"semi-hard", "hard", "random"}
        Of the batch's negatives any (random), the most similar (hard), or the most similar of
        those less similar than the positive; where there are none of these, the least similar of
        all. Hard negatives can collapse a network that has not learnt anything yet.
    """

    name = "triplet"

    def __init__(self, margin: float = 0.1, mining: str = "semi-hard"):
        super().__init__()
        if mining not in ("semi-hard", "hard", "random"):
            raise UsageError(f"triplet mining is semi-hard, hard or random, not {mining!r}")
        self.margin, self.mining = margin, mining

    def value(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Mean over all pairs."""
        unit = F.normalize(embedding)
        similarity = unit @ unit.T
        same = labels[:, None] == labels
        others = ~same
        pairs = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        if not bool(pairs.any()) or not bool(others.any()):
            raise DataError(
                "triplets need a batch with at least two utterances of a speaker and two speakers; "
                "draw batches of several utterances for each of several speakers"
            )
        anchor, positive = pairs.nonzero(as_tuple=True)
        negative = self._negatives(similarity.detach(), others, anchor, positive)
        s_ap, s_an = similarity[anchor, positive], similarity[anchor, negative]
        return F.relu(s_an - s_ap + self.margin).mean()

    def _negatives(
        self, similarity: Tensor, others: Tensor, anchor: Tensor, positive: Tensor
    ) -> Tensor:
        """Index (n_pairs,) of the negative of each pair."""
        if self.mining == "random":
            return torch.multinomial(others[anchor].float(), 1).squeeze(1)
        if self.mining == "hard":
            return similarity.masked_fill(~others, -torch.inf).argmax(1)[anchor]
        # Negatives of each row in rising order, the rest behind them: how many lie below s_ap tells
        # the place of the most similar of these, and none below leaves the first, the least.
        values, order = similarity.masked_fill(~others, torch.inf).sort(1)
        below = torch.searchsorted(values[anchor], similarity[anchor, positive][:, None])
        return order[anchor].gather(1, (below - 1).clamp(min=0)).squeeze(1)


class ScaledCosine(SpeakerLoss):
    """Base of the losses on w cos + b with learnt w > 0 and b, over M speakers × K utterances."""

    def __init__(self, initial_scale: float = 10.0, initial_bias: float = -5.0):
        super().__init__()
        if not initial_scale > 0:
            raise UsageError(f"initial_scale must be above 0, not {initial_scale}")
        self.initial_scale, self.initial_bias = initial_scale, initial_bias
        self.scale = nn.Parameter(torch.tensor(float(initial_scale)))
        self.bias = nn.Parameter(torch.tensor(float(initial_bias)))

    def scaled(self, cosine: Tensor) -> Tensor:
        """w cos + b; w is kept positive."""
        return self.scale.clamp(min=1e-6) * cosine + self.bias


class AngularPrototypical(ScaledCosine):
    """Each speaker's first utterance against the mean of the others, among all speakers.

    J. S. Chung et al., "In defence of metric learning for speaker recognition", Interspeech 2020,
    equations 7 and 8. A batch holds the same number K ≥ 2 of utterances of every speaker; the first
    of a speaker in the batch is the query.
    """

    name = "angular-prototypical"

    def value(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the speakers."""
        blocks = by_speaker(embedding, labels)
        query, prototype = F.normalize(blocks[:, 0]), F.normalize(blocks[:, 1:].mean(1))
        logits = self.scaled(query @ prototype.T)
        return F.cross_entropy(logits, torch.arange(len(blocks), device=logits.device))


class Ge2e(ScaledCosine):
    """Every utterance against the centroids of all speakers, its own without itself.

    L. Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018, equations 5
    to 9. A batch holds the same number K ≥ 2 of utterances of every speaker.

    Parameters
    ----------
    method : {"softmax", "contrast"}
        Equation 6 or 7.
    initial_scale, initial_bias : float
    """

    name = "ge2e"

    def __init__(
        self, method: str = "softmax", initial_scale: float = 10.0, initial_bias: float = -5.0
    ):
        super().__init__(initial_scale, initial_bias)
        if method not in ("softmax", "contrast"):
            raise UsageError(f"ge2e's method is softmax or contrast, not {method!r}")
        self.method = method

    def value(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Mean over all utterances."""
        unit = F.normalize(by_speaker(embedding, labels), dim=2)  # (M, K, D)
        n_speakers, n_utterances, _ = unit.shape
        total = unit.sum(1)
        centroids = F.normalize(total)  # a mean's direction is its sum's
        without_self = F.normalize(total[:, None] - unit, dim=2)  # (M, K, D), equation 8
        own = torch.eye(n_speakers, dtype=torch.bool, device=unit.device)[:, None]
        cosine = torch.where(own, (unit * without_self).sum(2, keepdim=True), unit @ centroids.T)
        similarity = self.scaled(cosine)  # (M, K, M), equation 9
        if self.method == "softmax":
            speakers = torch.arange(n_speakers, device=unit.device)
            return F.cross_entropy(
                similarity.flatten(0, 1), speakers.repeat_interleave(n_utterances)
            )
        probability = similarity.sigmoid()
        target = probability.masked_select(own.expand_as(probability))
        rival = probability.masked_fill(own, -torch.inf).amax(2)
        return (1 - target + rival.flatten()).mean()


def by_speaker(embedding: Tensor, labels: Tensor) -> Tensor:
    """Embeddings (N, D) as (M, K, D): speakers in the order of their labels, utterances as given.

    Raises
    ------
    DataError
        Fewer than two speakers or utterances of a speaker, or not the same number of each.
    """
    counts = torch.unique(labels, return_counts=True)[1]
    least, most = int(counts.min()), int(counts.max())
    if len(counts) < 2 or least != most or least < 2:
        raise DataError(
            f"this loss compares equally many utterances, at least 2, of at least 2 speakers; the "
            f"batch has {len(counts)} speakers of {least} to {most} utterances"
        )
    order = labels.argsort(stable=True)
    return embedding[order].unflatten(0, (len(counts), least))
