"""A detector behind HTTP: `python -m adjax serve`.

    body → pictures (`bodies`) → decoded in threads, scored in batches (`batching`, `model`) → rows → JSON (`app`)

`openinference` speaks the Open Inference Protocol to the same batches, `state` holds the model that is served and
replaces it, `metrics` counts, `guard` asks for the token. Nothing here decides anything: decoding, scores and rows are
those of `adjax.predict`.
"""
