"""adjax finds the images that don't belong: anomalies, defects, irrelevant uploads, out-of-distribution inputs."""

__version__ = "0.1.0"
