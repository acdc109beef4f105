"""Evidence beside the frozen formats: bytes in, bytes out."""
