"""`mailer outbox`: the outbox. `group` is the command; the other modules hold its larger subcommands."""
