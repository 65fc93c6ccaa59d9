"""The file formats of ``ivector``: Kaldi's archives and models.

``arks`` holds features and vectors, ``gmm`` the UBMs (``final.dubm``, ``final.ubm``), ``extractor``
the total-variability model (``final.ie``).
"""
