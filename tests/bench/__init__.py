"""What `scripts/bench` measures; ratios and waits from one run on one machine, never a timed test."""
