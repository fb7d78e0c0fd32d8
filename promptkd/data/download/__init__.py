"""Downloads of data sets: sources, connections that are cut, archives that are not trusted."""
