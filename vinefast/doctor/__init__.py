"""What ``vinefast info`` tells and ``vinefast doctor`` checks: this machine, a worker's command, a configuration."""
