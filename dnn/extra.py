"""What is said where torch or safetensors, the extra ``dnn``, is not installed.

Importing `dnn`, parsing its commands' options and reading their help take neither. A module that
needs torch imports it ``with told_extra()``, so that names attached from it tell it, too.
"""

from ivector.base.extras import MissingExtraError, told_extra
from ivector.base.lazy import attach

__all__ = ["MissingExtraError", "attach", "told_extra"]
