"""Files to arrays: pictures, tables of labels, IDX files; and finding them in folders."""
