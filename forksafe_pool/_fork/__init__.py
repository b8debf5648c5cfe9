"""What there is to a fork: noticing it, and severing what came through it."""
