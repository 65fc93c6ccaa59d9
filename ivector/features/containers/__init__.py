"""Containers of recordings: what each promises to hold, so that a part does not pass as whole.

libsndfile reads what is there of a file that lacks its end and says nothing. Here each container
says how much it should hold; what is not listed here is not read.

headers  WAV, AIFF, SPHERE and others, whose header states a length
streams  FLAC, Ogg and MP3, whose last frame or page tells the end
opening  the table of containers; a recording opened with its length checked
window   bytes of an open file from where a recording begins, with some of them replaced
"""
