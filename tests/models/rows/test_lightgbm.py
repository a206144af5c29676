from cartwheel.testing import LearnerConformance
from models.families.rows.lightgbm import LightGBMLearner


class TestLightGBM(LearnerConformance):
    learner = LightGBMLearner
