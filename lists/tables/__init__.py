"""Files of rows: tables and rosters that people import, and exports of the service.

For other packages: `importing`, `exporting` and `undoing` (people in and out of a file, and the undo of an
import), `table_file` (open a file), `column_mapping` (the field of each column), `spreadsheets` (write a
file). The other modules read encodings, dialects, headings and cells for these, and contain what other tools
write.
"""
