"""A recipe trained on another machine by ssh, rsync and tmux."""
