"""What lives for one sampling run, whatever the model: whose rows a batch has, where, when, and without identity."""
