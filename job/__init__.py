"""The life of a job as pure states: what each event leads to, the first cause, the outcome."""
