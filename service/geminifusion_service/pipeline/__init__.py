"""What happens to a request between transport and response."""
