"""Other people's specifications, one or two a file. No code here knows what a decision is."""
