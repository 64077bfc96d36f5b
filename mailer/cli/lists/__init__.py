"""`mailer list`: lists and files of people. `group` is the command; others hold its larger subcommands."""
