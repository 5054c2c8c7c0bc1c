"""From encoded windows to tokens: rules, search, fallback."""
