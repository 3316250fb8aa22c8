"""What it can do, measured: one file per question, results as a table."""
