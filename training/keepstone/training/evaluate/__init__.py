"""Judging a model before it may replace the one in use: on held-out questions, through the real pipeline.

held_out    the questions
metrics     what one ranking or one answer is worth; scoring says what counts, trials asks
bootstrap   how much better a candidate is on average, and how sure that is
parity      how alike two language models are, token by token; speed, how fast
gate        the ruling: promote, refuse, or not enough data
judge       all of that; verdicts keeps what it came to, service does it as a job
"""

from keepstone.training.evaluate.judge import Contender, Judge
from keepstone.training.evaluate.service import Evaluation, EvaluationPlan, Evaluations
from keepstone.training.evaluate.verdicts import Case, Verdict, Verdicts

__all__ = ["Case", "Contender", "Evaluation", "EvaluationPlan", "Evaluations", "Judge", "Verdict", "Verdicts"]
