"""Diagnosis of a machine and of a folder of pictures, `python -m adjax doctor`; changes nothing."""
