"""Models of speaker vectors, their training and adaptation.

plda            two-covariance PLDA trained by EM, with Kaldi's numbers
em              its E- and M-step in one, the floor of W, the objective
two_covariance  the model itself, however trained: transform, smoothing, projection, scores
adaptation      unsupervised adaptation to unlabelled vectors of another domain, as in Kaldi
averaging       means of the vectors of each speaker, for enrolment with several utterances
recording       scores between the segments of one recording, for diarisation
"""
