"""Plots, narrative and HTML for people."""
