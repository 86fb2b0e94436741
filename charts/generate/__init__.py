"""What is generated for the chart: dashboard, values reference, install manifest."""
