from plda.training.train import train_backend as train_backend
