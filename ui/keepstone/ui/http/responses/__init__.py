"""`/v1/responses`, as OpenAI has it: the agent, told in items."""
