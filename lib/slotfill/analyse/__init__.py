"""Frames in, frames out: metrics, hops, findings."""
