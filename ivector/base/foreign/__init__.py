"""What others wrote: defects become a DataError with the file's name, names are shown, not obeyed.

opening   regular files, and streams where they may be
boundary  what libraries raise becomes DataError; sizes against the memory there is; JSON, text
arrays    members of .npz, each read when asked for, after its size was looked at
hdf5      HDF5 files, of which no part may be elsewhere
schema    what the arrays and numbers of a model have to be
names     ids, names and titles on terminals, in tables, Markdown, HTML and pictures
"""
