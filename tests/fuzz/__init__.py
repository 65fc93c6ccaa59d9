"""Hostile inputs by the thousand, through every reader and every command.

``python tests/fuzz/run.py --n 100000`` runs them; see there.

run       the run: forked workers, limits of time and memory, the table
seeds     whole files of every format, and what reads them
audio     recordings of every container, whole, cut and damaged
mutators  what is done to them: bytes, and fields of each format
options   values of options, for every command
"""
