"""Kaldi's tables: archives (ark) and lists (scp) of anything its commands read and write.

specifiers  ark,s,cs:FILE, scp:FILE, ark,scp:FILE,FILE: what they mean, and which are refused
locations   FILE:OFFSET[ROWS,COLUMNS], an entry of a list
holders     what entries hold: matrices, vectors, posteriors, counts, words, recordings
reading     tables one entry after the other, or by id
writing     tables that are whole or absent
streams     files by name, and the standard streams as -
"""
