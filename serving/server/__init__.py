"""Triton as a process: started, watched, restarted, ended."""
