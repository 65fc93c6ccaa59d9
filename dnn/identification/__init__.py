"""Closed-set identification: which of the speakers of its training does a network hear?

identifier    The answers of a network, what they are worth, and the picture of them.
training      Training for it: what the tasks choose by their data, and the speed.
sweep         Trainings that differ in one field at a time; what is done is not done again.
sweep_report  Their report in Markdown: tables, curves, confusions, hardware.
differences   Whether two systems differ by more than the chance of their tests, paired.
figures       How reports say the figures of tests: shares, their intervals, tables.
experiment    An experiment as its folder holds it: networks that were tested, and a sweep.
assignment    What it has to report, in tables and words.
assignment_pages  That report as PDF of three pages, Markdown and HTML.
"""

from dnn.extra import attach

__getattr__, __dir__, __all__ = attach(__name__)
