"""Slotfill: drives a booking flow across a grid of slots and names its slowest hop."""
