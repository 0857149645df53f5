"""A folder of files to a table of decisions: `python -m adjax predict`.

    walk → decode in threads (`stream`) → one compiled pass (`predict_batch`) → `resume_log` → table (`writers`)

Every file is one row, whatever it holds; memory is that of a few batches, however many files there are.
"""

import os

THREADS = min(16, os.cpu_count() or 1)  # Pillow decodes outside the interpreter's lock
