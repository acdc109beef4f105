"""Plain values without I/O: actors, instants, payloads, results, and the strict decoder of records."""
