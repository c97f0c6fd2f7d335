"""What the benchmarks share: a quiet process, honest clocks, records that say where they come from.

`process` prepares and describes the process a case runs in, `sampling` times, `records` writes and reads, `datasets`
loads; `forgetting`, `id_index` and `overhead` measure, and `cases` lists what there is to run.
"""
