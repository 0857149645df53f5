"""What is this machine, and what is in that folder: `python -m adjax doctor`. Looks, and changes nothing."""
