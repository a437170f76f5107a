"""What travels in conditionings: prompts, the face in them, and what each ControlNet reads."""
