"""Pods of a Kubernetes cluster: what is made there, and how it is followed."""
