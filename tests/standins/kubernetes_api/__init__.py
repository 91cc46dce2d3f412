"""A stand-in for a Kubernetes API server with its controllers and kubelets. It is no Kubernetes.

It stores, validates, watches and streams logs as recordings of a real one show it, and runs the
command of each pod as a real process on a host of the testbed.
"""
