from .adaptation.adapt import adapt as adapt
from .adaptation.adaptation import save_adaptation as save_adaptation
from .adaptation.calibrate import calibrate as calibrate
from .architectures.registry import create_model as create_model
from .benchmarking.benchmark import benchmark as benchmark
from .benchmarking.benchmark_results import BenchmarkConfig as BenchmarkConfig
from .bulk.batches import BatchReader as BatchReader
from .bulk.parquet import ARROW_SCHEMA as ARROW_SCHEMA
from .bulk.portions import read_portion as read_portion
from .data.loading import load_dataset as load_dataset
from .evaluation.evaluate import evaluate as evaluate
from .inference.predictor import load_classifier as load_classifier
from .inference.torch_runtime import infer as infer
from .inference.torch_runtime import load_model as load_model
from .recognition.constraints import parse_constraints as parse_constraints
from .recognition.reader import Reader as Reader
from .recognition.reader_config import ReaderConfig as ReaderConfig
from .recognition.readings import Reading as Reading
from .recognition.sources import Picture as Picture
from .training.configuration import TrainConfig as TrainConfig
from .training.configuration import fine_tuning as fine_tuning
from .training.trainer import resume as resume
from .training.trainer import train as train

__version__: str
