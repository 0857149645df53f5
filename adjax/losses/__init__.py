"""Losses that more than one method takes, as functions of arrays."""
