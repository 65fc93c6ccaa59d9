"""The configuration of a network and its training: one table of fields for all who train one.

fields    How a field is declared: what it takes, and why one would change it.
sections  Every field, declared once: network, features, loss, batches, ... training, machine.
presets   What the tasks start from, and what they leave no choice of.
files     Configurations in TOML or JSON.
options   Configurations as options of a command.
document  Configurations as the tables of docs/networks.md.
__main__  ``python -m dnn.configuration TASK``: a file to start from, with every field.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
