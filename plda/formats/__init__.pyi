from plda.formats.models import load_model as load_model
from plda.formats.models import read_mean as read_mean
from plda.formats.models import read_plda as read_plda
from plda.formats.models import read_transform as read_transform
from plda.formats.models import save_model as save_model
from plda.formats.models import write_mean as write_mean
from plda.formats.models import write_plda as write_plda
from plda.formats.models import write_transform as write_transform
