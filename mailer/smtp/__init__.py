"""A connection to a relay (RFC 5321), and what its answers mean; the only importer of aiosmtplib.

For others: `connection`, `relay` (where it is and how to log in), `outcome`, `reply` (about whom a refusal
is), `doubt`, `capabilities` (the answer to EHLO), `rate`. `pipeline` speaks the protocol (RFC 2920),
`oauth_token` asks a program for a token (XOAUTH2).
"""
