"""The platform's Postgres: guard, reset, seed, integrity, samples."""
