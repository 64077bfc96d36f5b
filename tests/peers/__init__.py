"""Peers to test against: SMTP servers that follow the protocol, that violate it, and Postfix itself."""
