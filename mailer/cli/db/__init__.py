"""`mailer db`: the database: made, upgraded, checked, backed up and restored.

`group` is the command.
"""
