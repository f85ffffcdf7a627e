"""Reading and checking the configuration file."""
