"""How well a collection is searched, by judgements of its own: which passages answer which questions.

judgements  questions and what is relevant to them: handed in, or from what people thought of answers
questions   the same, found again in the collection as it is now
measure     nDCG, MRR and recall of one way of searching, with intervals
evaluation  the same for a collection, at once; measuring, as a job
ways        the ways of searching, and those that a sweep tries
tuning      the sweep, as a job: the best on one half of the questions, judged on the other
adoption    a collection is searched in the way that a sweep advises, or as before again
reports     what these jobs came to
"""

from keepstone.training.relevance.adoption import Adopted, Adoption
from keepstone.training.relevance.evaluation import Evaluator
from keepstone.training.relevance.judgements import Judgement, Judgements, Relevant, read_judgements
from keepstone.training.relevance.measure import Report
from keepstone.training.relevance.measuring import Measuring
from keepstone.training.relevance.tuning import Tuning, TuningReport

__all__ = [
    "Adopted",
    "Adoption",
    "Evaluator",
    "Judgement",
    "Judgements",
    "Measuring",
    "Relevant",
    "Report",
    "Tuning",
    "TuningReport",
    "read_judgements",
]
