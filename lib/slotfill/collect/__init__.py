"""What is heard while a run lasts, in processes of their own beside the driver: OTLP in, and taps."""
