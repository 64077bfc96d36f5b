"""Real parts to test against: SMTP servers that behave, that misbehave, and Postfix itself."""
