"""The file formats of ``ivector``: Kaldi's, and statistics of our own.

arks          archives of features and vectors (ark/scp), through kaldiio
gmm           mixtures: final.dubm and final.ubm, binary and text, and .npz
statistics    Baum-Welch statistics, in blocks read one by one
accumulators  sums of EM, of mixtures and extractors: Kaldi's .acc
extractor     the total-variability model, final.ie
"""
