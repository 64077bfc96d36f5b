"""Mailer: composes, sends and tracks email for the lists of the package `lists`."""
