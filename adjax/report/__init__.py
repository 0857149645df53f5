"""A report that a person opens: one HTML file that needs nothing but itself, made of arrays and tables.

    report = Report(title="scores of photos/", views=(View("all", scores, threshold=0.975),))
    report.write("report.html")

`Report` is what there is to show (`contents`), `page` makes HTML of it, `pack` the numbers that its JavaScript computes
with, `pictures` its thumbnails; `card` writes the model card. Pure functions of NumPy arrays: nothing here knows of
JAX, detectors or experiments, so a run, a scored folder and somebody's own script fill the same page.

The page says nothing to any network, and its policy (`Content-Security-Policy`) forbids it to: no script but its own
runs, whatever the names of files hold. Numbers that move with the threshold are counted in the page, from the scores
themselves.
"""

from __future__ import annotations

from adjax.report.contents import Figure as Figure
from adjax.report.contents import Pictures as Pictures
from adjax.report.contents import Report as Report
from adjax.report.contents import Sweep as Sweep
from adjax.report.contents import Table as Table
from adjax.report.contents import View as View
from adjax.report.page import MAX_BYTES as MAX_BYTES
from adjax.report.page import render as render
from adjax.report.page import write as write
from adjax.report.pictures import choose as choose
