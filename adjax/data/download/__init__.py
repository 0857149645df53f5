"""Ways to published files: the cache, package mirrors, tensorflow-datasets; each ends in the same SHA-256."""
