"""Files of others on the page: the dialog that opens them, what is added to a model, its speed."""
