"""Events: calls and webinars, their times and audiences, and their calendar entries (RFC 5545, RFC 5546).

For others: `events` (the table), `icalendar` (one invitation as the bytes of a calendar).
"""
