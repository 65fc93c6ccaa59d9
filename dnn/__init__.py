"""Networks: x-vectors and other speaker embeddings, their training and extraction; needs torch."""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {})
