"""The commands: `parsers/NAME.py` has the options of one, `NAME.py` its `main`, and `adjax.__main__` a line for it."""
