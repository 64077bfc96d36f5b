"""State that all processes share through the database: leases, limits, suspensions, counters, runs.

For others: every module; each is one small table with its functions. Times are the machine's, not the
try-out's.
"""
