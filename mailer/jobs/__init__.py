"""What happens by itself: the table of jobs, each an idempotent function, and what held messages wait for.

For others: `jobs`. `held_releases` lets held messages go on once the reason has ended.
"""
