"""The backend ``ssh``: logins with paramiko, one agent on each host."""
