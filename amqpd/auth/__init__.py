"""Who may log in, and what they may do: the users and permissions that the broker itself keeps."""
