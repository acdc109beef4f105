"""Evidence, and the checks of it: signatures, logs, timestamps, packages and bundles. Nothing here needs a store."""
