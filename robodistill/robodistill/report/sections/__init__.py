"""Sections of the report: functions from Inputs to HTML, each with a note where its input is missing."""
