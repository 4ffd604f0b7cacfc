"""An agent that reasons and acts by turns (ReAct), and whose runs outlive the process."""
