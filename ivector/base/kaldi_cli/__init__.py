"""The frame of commands that take Kaldi's options and tables.

declared  what a command declares: options, tables and files, what Kaldi's has and it has not
parsing   Kaldi's --option=value and --config=FILE
running   help, tables opened, the command run
tally     how many entries were done, and which were not
"""
