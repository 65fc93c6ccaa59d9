from plda.transforms.affine import Affine as Affine
from plda.transforms.centring import Center as Center
from plda.transforms.centring import Whiten as Whiten
from plda.transforms.discriminant import LDA as LDA
from plda.transforms.discriminant import WCCN as WCCN
from plda.transforms.length import LengthNorm as LengthNorm
from plda.transforms.length import length_norm as length_norm
