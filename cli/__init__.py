"""The command line of swin-deploy: one command a file, and the only place that prints or exits."""
