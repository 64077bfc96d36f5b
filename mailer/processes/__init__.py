"""Processes: `serve` (pages, schedule, post office), `work` (delivery), and restoring a backup.

For others: the commands start them. `bootstrap` prepares the first start, `supervisor` restarts the delivery
process, `scheduler` runs the jobs, `draining` delivers what is due and ends; `restoring` uses `restored_rows`
and `restore_settlement`.
"""
