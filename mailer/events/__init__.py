"""Calls and webinars: when they take place, for whom, and their calendar entries (RFC 5545, RFC 5546).

For others: `events` (the table), `icalendar` (one invitation as the bytes of a calendar).
"""
