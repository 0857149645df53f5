"""One day with a GPU: what `benchmarks/gpu_day.sh` runs, a stage in a module. How to: docs/performance.md.

| stage | module | what |
|---|---|---|
| same_numbers | `same_numbers` | scores, training steps and metrics on the device against those on the CPU |
| main_job, cache | `main_job` | `experiments.run --method centerloss`; again with the compilation cache filled |
| beside | `beside` | training beside PyTorch on the same device |
| members | `members` | 1, 15 and 150 members as one program |
| large | `large` | scorers of up to 10,000,000 rows of 512 features |

`preflight` says first what is missing, `data` makes the files to carry, and `summary` makes a page and a plot.
"""
