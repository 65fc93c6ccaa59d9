"""Vectors of another domain than a back-end was trained on: how to adapt it, and whether.

methods   the table of methods, and a whole back-end adapted by one of them
evidence  whether to: does centring fit vectors better that it has not seen
"""
