"""Training on another machine by ssh, rsync and tmux."""
