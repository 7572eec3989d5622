"""What `finetune.py` consists of: tasks and their data, one worker a side, and the comparison."""
