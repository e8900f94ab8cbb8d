"""The figures as ECharts options: plain data, made by pure functions of the records."""
