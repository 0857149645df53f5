"""A folder of normal images to a detector: `python -m adjax train`.

`scan_folder` (who is normal) → `gather` (pixels) → `plan` (what to train, and why) → `fit` (train, hold out, calibrate)
"""

METHODS = ("gmm", "hog_ocsvm", "centerloss", "autoencoder", "deep_svdd")
"""Those that learn from normal images alone or from their classes."""
