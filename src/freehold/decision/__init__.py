"""Certificate, costs, planner: pure functions over records; no database, no clock, no model."""
