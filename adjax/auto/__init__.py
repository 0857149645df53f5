"""A folder of normal images to a detector: `python -m adjax train`.

layout (who is normal) → gather (pixels) → plan (what to train, and why) → fit (train, hold out, calibrate)
"""
