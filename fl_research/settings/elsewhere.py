"""What other frameworks' options are called here.

The names are those of PFLlib, Flower, FedML, LEAF and FedLab, and of much code of papers, written
with underscores and in small letters.
"""

from collections.abc import Container, Mapping
from typing import NamedTuple


class Ours(NamedTuple):
  """Our flag, and what one must know besides."""

  flag: str
  remark: str


_TABLE = (
  (
    'total_rounds',
    '',
    'rounds num_rounds n_rounds global_rounds global_epochs comm_round gr comm_rounds '
    'communication_rounds num_server_rounds server_rounds round',
  ),
  (
    'client_epochs_per_round',
    '',
    'local_epochs local_epoch local_ep num_local_epochs client_epochs ls epochs_per_round '
    'n_local_epochs e',
  ),
  (
    'client_epochs_per_round',
    'rounds are --total_rounds',
    'epochs num_epochs n_epochs ep',
  ),
  (
    'clients_per_round',
    '',
    'client_num_per_round num_clients_per_round sample_clients cohort_size '
    'train_clients_per_round num_active_clients min_fit_clients min_train_nodes',
  ),
  (
    'clients_per_round',
    'a number of clients, not a share',
    'join_ratio jr frac fraction fraction_fit fraction_train sample_ratio '
    'participation_rate client_fraction sampling_rate sample_rate c',
  ),
  (
    'num_clients',
    '',
    'num_users n_clients nc client_num_in_total num_supernodes num_partitions n_parties '
    'num_workers_total total_clients num_nodes k',
  ),
  (
    'client_batch_size',
    '',
    'batch_size local_bs local_batch_size lbs bs minibatch batch b',
  ),
  (
    'client_learning_rate',
    "the server's is --server_learning_rate",
    'lr learning_rate local_learning_rate local_lr client_lr eta',
  ),
  (
    'server_learning_rate',
    '',
    'server_lr global_lr eta_s',
  ),
  (
    'client_lr_schedule',
    'and --client_lr_decay',
    'lr_decay learning_rate_decay learning_rate_decay_gamma ld',
  ),
  (
    'client_parallelism',
    'all runs on processor cores',
    'device dev device_id did gpu gpus gpu_id cuda num_gpus use_gpu no_cuda '
    'num_cpus workers num_workers n_jobs threads',
  ),
  (
    'task',
    '',
    'dataset data dataset_name data_name ds',
  ),
  (
    'data_dir',
    '',
    'data_path data_root data_cache_dir root',
  ),
  (
    'model',
    '',
    'model_name net arch network m',
  ),
  ('initializer', '', 'init weight_init kernel_initializer init_method'),
  (
    'partition',
    '',
    'partition_method partition_type split data_split partitioner distribution iid noniid '
    'niid non_iid',
  ),
  (
    'partition_alpha',
    'with --partition=dirichlet',
    'alpha dirichlet_alpha dir_alpha dir beta concentration',
  ),
  (
    'algorithm',
    '',
    'algo alg method strategy federated_optimizer fl_algorithm aggregation',
  ),
  (
    'rounds_per_evaluation',
    '',
    'eval_every eval_gap eg rounds_per_eval frequency_of_the_test test_every '
    'eval_interval evaluate_every test_interval',
  ),
  (
    'rounds_per_checkpoint',
    '',
    'save_every save_gap checkpoint_every',
  ),
  (
    'output_dir',
    '',
    'out output out_dir save_dir log_dir logdir results_dir save_path',
  ),
  (
    'experiment_name',
    '',
    'name run_name exp_name goal save_folder_name tag',
  ),
  (
    'seed',
    '',
    'random_seed rand_seed manual_seed run_seed s',
  ),
  (
    'client_optimizer',
    '',
    'optimizer opt optim local_optimizer',
  ),
  (
    'server_optimizer',
    '',
    'server_opt global_optimizer',
  ),
  (
    'fedprox_mu',
    'with --algorithm=fedprox',
    'mu prox_mu proximal_mu',
  ),
  (
    'client_momentum',
    'with --client_optimizer=momentum',
    'momentum sgd_momentum local_momentum',
  ),
  (
    'client_weight_decay',
    '',
    'weight_decay wd l2 reg',
  ),
  (
    'client_gradient_clip_norm',
    "differential privacy's norm is --dp_clip_norm",
    'clip max_grad_norm grad_clip gradient_clip',
  ),
  (
    'dropout_probability',
    '',
    'client_drop_rate cdr drop_percent drop_rate dropout',
  ),
  (
    'straggler_fraction',
    '',
    'train_slow_rate tsr straggler_rate',
  ),
  (
    'target_epsilon',
    '',
    'epsilon eps dp_epsilon',
  ),
  (
    'dp_delta',
    '',
    'delta',
  ),
  (
    'dp_noise_multiplier',
    '',
    'noise_multiplier sigma dp_sigma',
  ),
  (
    'max_examples_per_client',
    '',
    'max_elements_per_client max_samples max_train_examples',
  ),
  (
    'fine_tune_epochs',
    '',
    'fine_tuning_epoch fine_tuning_epoch_new ften',
  ),
  (
    'patience',
    '',
    'early_stop early_stopping auto_break ab',
  ),
  (
    'tensorboard',
    '',
    'use_tensorboard wandb tb use_wandb',
  ),
  (
    'experiment_name',
    'a run resumes itself',
    'resume load checkpoint',
  ),
  (
    'seed',
    'or experiments.sweep',
    'times repeats num_trials t',
  ),
)
"""Our flag, a remark, and its names elsewhere."""

NAMES: Mapping[str, Ours] = {
  name: Ours(flag, remark) for flag, remark, names in _TABLE for name in names.split()
}
"""Name elsewhere -> what it is here."""


def suggestion(name: str, known: Container[str]) -> str:
  """What an option of another framework is called here, for the end of a complaint.

  Args:
    name: the option as it was typed.
    known: the flags that there are.

  Returns:
    Words such as `here it is --task`; empty for a name that is not in the table, or none of the
    flags.
  """
  ours = NAMES.get(name.lower().replace('-', '_'))
  if ours is None or ours.flag not in known:
    return ''
  return f'here it is --{ours.flag}' + (f' ({ours.remark})' if ours.remark else '')
