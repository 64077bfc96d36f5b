"""Try-out: mail goes to a post office on this machine, and a time machine moves the clock.

For others: `postoffice`, `time_machine`, `message_reader` (parses messages of any origin).
"""
