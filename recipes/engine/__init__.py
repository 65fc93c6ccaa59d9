"""What runs the recipe: options, what is done already, jobs side by side, the console.

options   options as data: what each takes, its default; reading and refusing them
settings  the options of ``run.sh``, and their values for each system
code      digests of the code that a step computes with
marks     what finished stages were made of, and why one runs again
stage     the frame of a stage: its folder, log, versions, time and mark
run       a run: folders, systems, the folds that a step has to do
jobs      jobs of a stage, side by side in processes
driver    the stages of a recipe, run or planned
server    one process that imports everything, from which every stage is forked
console   what the terminal shows: a line a stage, progress, warnings
"""
