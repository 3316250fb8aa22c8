"""registry: residents, rounds, samples and results; the only authority of the account."""
