"""One network whose rows lie in several processes: agreement, sums and steps over all of them."""
