"""Who is left, and whether it adds up: reporting on a real database."""
