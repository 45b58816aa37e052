"""Who answers a page's queries: numpy over columns, or Ibis where the data is too large."""
