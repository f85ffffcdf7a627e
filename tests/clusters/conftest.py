import sys
from pathlib import Path

# Workers look for cluster_work.py where this process does.
sys.path.insert(0, str(Path(__file__).parent))
