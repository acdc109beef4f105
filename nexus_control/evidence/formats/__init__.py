"""Other people's specifications, one file each. Nothing here knows of decisions."""
