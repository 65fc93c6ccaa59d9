"""What the command modules share: reading their inputs, and the text that they print.

inputs          What the commands of `fusion` share: naming systems, telling speakers, options of
                trial files.
calibrate_text  What `python -m fusion.calibrate` prints and writes of a calibration.
fuse_text       What `python -m fusion.fuse` prints and writes of a fusion: weights, table, guard.
evaluate_text   What `python -m fusion.evaluate` prints and writes: the numbers of every system, in
                tables.
"""
