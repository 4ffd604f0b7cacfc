"""How well a collection is searched, by judgements of its own: which passages answer which questions.

judgements  questions and what is relevant to them: handed in, or from what people thought of answers
questions   the same, found again in the collection as it is now
making      questions about a collection that nobody has judged, made from its passages
asking      the questions that a job asks
measure     nDCG, MRR and recall of one way of searching, with intervals
evaluation  the same for a collection, at once; measuring, as a job
ways        the ways of searching, and those that a sweep tries
trials      a collection as it is, or a copy that is cut in another way, to try them on
choosing    the best of them on one half of the questions, judged on the other
tuning      the sweep, as a job
adoption    a collection is searched in the way that a sweep advises, or as before again
reports     what these jobs came to
beir        the same for public collections, with the usual measures
"""

from keepstone.training.relevance.adoption import Adopted, Adoption
from keepstone.training.relevance.asking import Wanted
from keepstone.training.relevance.choosing import TuningReport
from keepstone.training.relevance.evaluation import Evaluator
from keepstone.training.relevance.judgements import Judgement, Judgements, Relevant, read_judgements
from keepstone.training.relevance.making import QuestionMaker
from keepstone.training.relevance.measure import Report
from keepstone.training.relevance.measuring import Measuring
from keepstone.training.relevance.trials import Trials
from keepstone.training.relevance.tuning import Tuning

__all__ = [
    "Adopted",
    "Adoption",
    "Evaluator",
    "Judgement",
    "Judgements",
    "Measuring",
    "QuestionMaker",
    "Relevant",
    "Report",
    "Trials",
    "Tuning",
    "TuningReport",
    "Wanted",
    "read_judgements",
]
