"""Bytes that others wrote: what is wrong with them is told as a DataError with the file's name.

boundary  what libraries raise becomes DataError; sizes against the memory there is; JSON, text
arrays    members of .npz, each read when asked for, after its size was looked at
schema    what the arrays and numbers of a model have to be
"""
