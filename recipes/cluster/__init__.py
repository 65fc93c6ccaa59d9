"""The recipe on clusters; README.md beside this file tells how, and what was run of it.

pipeline    the recipe as a Kubeflow pipeline, derived from the table of systems
components  its components in kfp's terms
slurm       a Dask cluster on SLURM
"""
