"""Contracts for tests of architectures, tasks, distances, mappings, controls, stores, workers.

Each `check_...` raises ContractError, an AssertionError that names every broken rule with the
finding and the reason of the rule. Rules can be tested one by one::

    @pytest.mark.parametrize("rule", testing.distance_rules("pairwise"))
    def test_pairwise(rule):
        testing.check_distance("pairwise", rule=rule)
"""

from trainers.testing.architecture import architecture_rules, check_architecture
from trainers.testing.contract import ContractError
from trainers.testing.control import check_control, control_rules
from trainers.testing.distance import check_distance, distance_rules
from trainers.testing.mapping import check_mapping, mapping_rules
from trainers.testing.store import check_store, store_rules
from trainers.testing.task import check_task, task_rules
from trainers.testing.workers import check_workers, workers_rules

__all__ = [
    "ContractError",
    "architecture_rules",
    "check_architecture",
    "check_control",
    "check_distance",
    "check_mapping",
    "check_store",
    "check_task",
    "check_workers",
    "control_rules",
    "distance_rules",
    "mapping_rules",
    "store_rules",
    "task_rules",
    "workers_rules",
]
