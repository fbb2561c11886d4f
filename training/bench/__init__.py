"""How fast and how exact StrokeNode is, side by side with others. No test fails on time."""
