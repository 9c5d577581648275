"""Publishing on the Hub: what a repository holds, whether it may go there, and the upload."""
