"""dispatch owns everything that moves: cases, visits, teams, and in whose hands people are."""
