"""What the commands of `fusion` read from the command line and print.

inputs          Reading what the options name: systems, scores, speakers, conditions.
tables          Aligned columns, and those of all metrics.
partitions      C_primary equalised over partitions of the trials: which, and its numbers.
evaluate_text   What ``python -m fusion.evaluate`` prints and writes: numbers of every system.
calibrate_text  What ``python -m fusion.calibrate`` prints: model, thresholds, what it is worth.
fuse_text       What ``python -m fusion.fuse`` prints and writes: weights, table, guard.
validate_text   What ``python -m fusion.validate`` prints and writes: evidence, cases, conclusions.
fuse_guard      The guard of ``python -m fusion.fuse``: what it looks at and does.
"""
