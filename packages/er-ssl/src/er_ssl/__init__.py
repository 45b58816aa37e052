"""Self-supervised objectives from the entropy-reconstruction bound."""

from er_ssl._lse import row_logsumexp
from er_ssl.bounds import ERTerms, er_bound, infonce_bound
from er_ssl.diagnostics import effective_rank, embedding_std, gaussian_entropy
from er_ssl.discrete import DiscreteERLoss
from er_ssl.distributed import gather_rows
from er_ssl.entropy import entropy_limits, kde_entropy, plugin_entropy
from er_ssl.losses import DistillationERLoss, ERLoss, NTXentLoss
from er_ssl.monitor import CollapseWarning, ERMonitor
from er_ssl.queue import EntropyQueue
from er_ssl.reconstruction import categorical_log_prob, gaussian_log_prob, vmf_log_prob
from er_ssl.trace import plot_trace, read_trace
from er_ssl.vmf import log_sphere_area, vmf_log_normalizer, vmf_mean_cosine

__all__ = [
    "CollapseWarning",
    "DiscreteERLoss",
    "DistillationERLoss",
    "ERLoss",
    "ERMonitor",
    "ERTerms",
    "EntropyQueue",
    "NTXentLoss",
    "categorical_log_prob",
    "effective_rank",
    "embedding_std",
    "entropy_limits",
    "er_bound",
    "gather_rows",
    "gaussian_entropy",
    "gaussian_log_prob",
    "infonce_bound",
    "kde_entropy",
    "log_sphere_area",
    "plot_trace",
    "plugin_entropy",
    "read_trace",
    "row_logsumexp",
    "vmf_log_normalizer",
    "vmf_log_prob",
    "vmf_mean_cosine",
]
