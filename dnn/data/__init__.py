"""What networks are trained on: sources of utterances, crops and batches, augmentation.

sources       Utterances whose frames are read in any part: arrays, Kaldi's archives, stores.
voiced        Stored features as networks see them: sliding mean off, voiced frames only.
audio_source  Features computed from audio when they are asked for, of the part asked for.
spectrogram   Magnitude spectrograms as VGG-M takes them: 512 bins.
records       Utterances in binary records of spectrograms, ``voxceleb-abridged-N.bin``.
mel_set       Utterances in ``.pt`` files of log-mel features, with JSON or CSV tables.
labelled      Utterances with their speakers, whichever of these ways they are stored.
augment       Changes of crops: noise, rooms, telephone, speed, masks of the features.
noises        The sounds that are added: recordings, training speakers, simulation.
batches       Random crops in batches, each a function of the seed and the step alone.
hard          Batches of speakers that the network takes for each other, for triplets.
prefetch      Batches computed ahead by other processes, in the order of their steps.
"""
