"""Files of rows: tables and rosters that people hand in, and the exports they take out.

For others: `importing`, `exporting` and `undoing` (people in and out of a file, and an import taken back),
`table_file` (open a file), `column_mapping` (which column is what), `spreadsheets` (write one). The others
read encodings, dialects, headings and cells for these, and know what other tools write.
"""
