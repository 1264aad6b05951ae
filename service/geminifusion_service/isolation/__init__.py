"""Work in other processes: what is the same for engines and decoders."""
