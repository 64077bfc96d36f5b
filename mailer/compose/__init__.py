"""Compose: from a claimed row to the bytes of a message: permission, text, links, MIME, signature.

For others: `source` (the protocol of every reason to write), `composer` (the only caller of the permission
rule at sending time), `editions` (frozen texts), `tokens` (signed links), `mime`, `dkim`, `dkim_keys`.
"""
