"""Drive the platform: bookings over HTTP, log lines on disk."""
