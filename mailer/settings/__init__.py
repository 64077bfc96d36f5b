"""Settings: what the operator may configure, where it comes from, and the two keys of an installation.

For others: `loading` (read the settings once), `model` (every setting), `keys`, `key_check` (are these the
keys that the database was written with?), `data_folder`, `public_url`. `layers` orders defaults, file,
secrets, environment.
"""
