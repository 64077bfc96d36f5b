"""Backup: one encrypted file that holds an installation, and what a restore needs about the time after it.

For others: `backup` (write and read the file), `backup_contents` (check all of it), `restore_run` (put its
files into a data folder, or finish that), `departures_file` (an append-only record of departures to copy off
the machine), `restore_gap` (settle what may have been sent since the backup). `encryption` encrypts the
stream.
"""
