"""Data sets: a file each, with its classes and what loads a split; `adjax.data.registry` lists them."""
