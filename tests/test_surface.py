"""How a command ends: an error is one line with its cause, and a traceback if asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adjax import surface

ROOT = Path(__file__).parent.parent


def test_what_was_not_foreseen_is_one_line_and_a_traceback_if_asked(capsys):
    def command(arguments):
        assert arguments == ["x"]
        raise TypeError("a\nb")

    assert surface.run(command, ["x"]) == 1
    assert capsys.readouterr().err == (
        "error: TypeError: a b. This was not foreseen: the same command with --debug says where, for a report\n"
    )
    with pytest.raises(TypeError):
        surface.run(command, ["x", "--debug"])
    assert surface.run(lambda arguments: 3, ["--debug"]) == 3


def test_every_command_ends_so(monkeypatch, capsys):
    def main():
        assert sys.argv[1:] == ["--rows", "3"]
        raise KeyError("x")

    monkeypatch.setattr(sys, "argv", ["command", "--rows", "3"])
    with pytest.raises(SystemExit, match="1"):
        surface.script(main)
    assert capsys.readouterr().err.startswith("error: KeyError: 'x'. This was not foreseen")
    for path in (p for folder in ("experiments", "benchmarks") for p in (ROOT / folder).glob("*.py")):
        ends = path.read_text().partition('if __name__ == "__main__":')[2]
        assert "\n    main()" not in ends, path


ENDS = """
import atexit, sys, threading, time
from adjax import surface

class Late:
    def __del__(self):
        print("freed")

kept = Late()
atexit.register(print, "registered")
if "thread" in sys.argv:
    threading.Thread(target=lambda: (time.sleep(0.3), print("awaited"))).start()
print("printed")
surface.leave(3)
"""


@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_a_reader_that_has_enough_is_no_error(unbuffered):
    """As `adjax --help | head -1`: at once, or when what was held back is written."""
    code = (
        "import time; from adjax import surface; time.sleep(0.5); "
        "surface.leave(surface.run(lambda _: print('line\\n' * 9) or 0, []))"
    )
    command = [sys.executable, *unbuffered, "-c", code]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, cwd=ROOT, env=env) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")


@pytest.mark.parametrize("closed", ["sys.stdout.close()", "sys.stdout = None"])
def test_an_end_without_anywhere_to_print(closed):
    code = f"import sys; from adjax import surface; {closed}; surface.leave(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize(
    ("given", "printed"), [((), "printed registered"), (("thread",), "printed awaited registered freed")]
)
def test_the_end_waits_for_all_but_the_freeing_of_objects(given, printed):
    done = subprocess.run([sys.executable, "-c", ENDS, *given], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.split(), done.stderr) == (3, printed.split(), "")
