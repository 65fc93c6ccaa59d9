"""What networks are trained on: sources of utterances, crops and batches, augmentation.

sources       Where networks get their frames from: sources that read any part of any utterance.
audio_source  Features computed from audio when they are asked for, of the part that is asked for.
voiced        Stored static features as networks see them: normalised over a sliding window, voiced frames.
labelled      Utterances with their speakers for closed-set identification, whichever way they are stored.
spectrogram   Magnitude spectrograms as VGG-M takes them: 512 bins of a transform of 1,024 points.
augment       Augmentation: noise, reverberation, babble, telephone band and codec, speed, masks.
noises        Sounds to augment with: recordings of noise and rooms, training speakers, or simulation.
batches       Batches of crops to train on, each a pure function of the seed and the step.
prefetch      Batches computed ahead by other processes, in the order of their steps.
mel_set       Sets of mel features in ``.pt`` files with JSON or CSV tables, for closed-set classification.
records       Binary records of spectrograms with labels, ``voxceleb-abridged-N.bin``.
"""
