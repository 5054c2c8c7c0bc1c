"""What a recipe for a speech model will take before it runs: parameters, memory (measured), operations, time."""
