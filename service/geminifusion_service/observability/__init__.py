"""What operators watch and guard the service with."""
