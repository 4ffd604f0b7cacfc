"""Judging a model before it may replace the one in use: on held-out questions, through the real pipeline.

metrics     what one ranking or one answer is worth
bootstrap   how much better a candidate is on average, and how sure that is
gate        the verdict: promote, refuse, or not enough data
"""
