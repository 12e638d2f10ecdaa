"""When a job is polled again."""
