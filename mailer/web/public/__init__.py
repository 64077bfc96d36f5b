"""One file per public page: parse, call the verb of the floor below, show a page; only these commit."""
