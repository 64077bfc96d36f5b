"""`mailer outbox`: the ledger. `group` is the command; the other modules hold its larger subcommands."""
