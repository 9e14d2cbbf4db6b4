"""What a job says, in the cell that sent it: live, after a reload, and as the cell's own error."""
