"""Getting data sets: sources, downloads that go on, archives that are not trusted."""
