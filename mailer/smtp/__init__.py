"""SMTP: a connection to a relay (RFC 5321) and the meaning of its replies; the only importer of aiosmtplib.

For others: `connection`, `relay_settings` (address and login), `outcome`, `reply` (the cause of a refusal),
`capabilities` (the reply to EHLO), `rate`. `pipeline` implements the protocol (RFC 2920),
`oauth_token` gets a token from a program (XOAUTH2).
"""
