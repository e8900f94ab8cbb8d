"""The pages; importing one enters it into NiceGUI's routes."""
