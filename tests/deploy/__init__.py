"""Tests of how Lastmetre is run on one machine: people, imports, the demo, the CLI."""
