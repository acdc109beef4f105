"""What a decision is executed with: routers, the embedded one, its adapters and their configuration."""
