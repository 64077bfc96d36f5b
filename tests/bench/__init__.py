"""Benchmarks: what `scripts/bench` measures; ratios and times of one run on one machine, no timed tests."""
