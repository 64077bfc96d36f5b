"""Files of rows: people that are imported from files, and exports of the service.

For other packages: `importing`, `import_undo` and `export_rows` (people in and out of a file, and an import
taken back), `csv_file` (open a file), `column_mapping` (the field of each column), `csv_writer` (write a
file). The other modules detect encoding and dialect, read cells and headings, and list what other tools
write.
"""
