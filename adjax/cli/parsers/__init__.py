"""The options of each command, as argparse has them: a mistake and `--help` are answered before JAX is imported."""
