"""What runs a stage: marks of what is finished, resuming, dry runs.

stage  The frame of a recipe stage: its folder, log, options, versions, time and the mark of being
       done.
marks  Marks of finished stages: what they were made of, whether they stand, why they run again.
"""
