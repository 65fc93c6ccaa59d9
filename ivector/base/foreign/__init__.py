"""What others wrote: names are shown without doing anything else, files are what they seem.

names     ids, names and titles on terminals, in tables, Markdown, HTML and pictures
opening   regular files, and streams where they may be
"""
