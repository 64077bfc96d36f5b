"""The pages: a thin floor that reads a form, calls the verb of the floor below and shows a page."""
