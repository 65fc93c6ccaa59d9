from fusion.report.__main__ import build_parser as build_parser
from fusion.report.__main__ import main as main
