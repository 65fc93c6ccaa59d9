"""The heavy sums of UBM and total variability by torch, on a GPU: option ``device`` of the models.

device      opens a device by name, and keeps products in full single precision
streaming   blocks read by threads some steps before the device asks for them
pairs       pairs of frame and component grouped by component, for batched products
mixture     DeviceMixture: selection, posteriors and EM statistics of a mixture
statistics  Baum-Welch statistics of blocks of utterances
e_step      the E-step of total variability, and i-vectors

Nothing here is imported before a device is asked for: torch is an extra.
"""
