"""The search: ask/tell algorithms over the unit cube. DEAP lives here, and nowhere else."""
