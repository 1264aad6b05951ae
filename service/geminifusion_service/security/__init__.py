"""Who may use the server: API keys with roles and rates, TLS and mutual TLS."""
