"""Free spoken digits: which digit is said? Six speakers, six clients.

Jackson et al., "Free Spoken Digit Dataset" (github.com/Jakobovski/free-spoken-digit-dataset): 3,000
recordings at 8 kHz, 16 bit, 50 of each digit by each speaker, 0.14 to 2.28 s long.

An example is a log-mel spectrogram: x float32 [41, 40, 1] = 41 moments 25 ms apart, 40 mel bands;
y int32 [] = the digit. Made so: the first second (20 recordings are longer; shorter ones are
followed by silence), windows of 50 ms (Hann, 400 samples, centred every 200), power spectrum,
40 triangular bands equally wide on the mel scale from 0 to 4,000 Hz, natural logarithm of the power
plus 1e-10, then each band standardised.

Split: the data set's own. Recordings 0 to 4 of each speaker and digit (300) are test, at the
speaker's test client; the other 2,700 train. Each band's mean and deviation are taken over the
training recordings of all speakers together.
"""

import hashlib
import io
import re
import tarfile

import numpy as np
from scipy import signal
from scipy.io import wavfile

from fl_research.datasets import files
from fl_research.datasets.features import standardise
from fl_research.datasets.federated_data import (
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.datasets.splits import clients_by_owner
from fl_research.registry import UsageError

_FOLDER = 'free_spoken_digits'
_COMMIT = '26eb9aaf76e81b692f806f9140c2d2777410d7a1'
_PACKED, _PACKED_SHA256 = (
  'recordings.tar.gz',
  '8a4b9094856b7e5090ec1ab3233452e255892c4bb35d27ddbc2222e72bdca756',
)
_ARCHIVE = f'{_COMMIT}.tar.gz'
_URL = f'https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{_ARCHIVE}'
# SHA-256 over the recordings themselves: a host that packs an archive on demand promises no bytes.
_CONTENT_SHA256 = '45a9b976ba3397a2fd5c70a9f2e43c34f442a3a6be47392ecfc41174b678f37e'
_RECORDING = re.compile(r'(?:.*/)?recordings/(?P<name>\d_[a-z]+_\d+\.wav)')

_RATE = 8000
_WINDOW, _HOP = 400, 200
_MELS = 40
_FLOOR = 1e-10
_TEST_INDICES = 5


def load(options: DatasetOptions) -> FederatedData:
  """Reads the recordings by speaker; reads `options.data_dir`.

  Raises:
    UsageError: the file is missing, damaged, or not in the published format.
  """
  path = _fetch(options.data_dir)
  recordings = _read(path)
  names = sorted(recordings)
  digit, speaker, index = np.array([name.removesuffix('.wav').split('_') for name in names]).T
  speakers, owner = np.unique(speaker, return_inverse=True)
  sound = np.stack([recordings[name] for name in names])
  train_rows = index.astype(np.int32) >= _TEST_INDICES
  x = standardise(log_mel(sound), train_rows, axes=(0, 1))[..., np.newaxis]
  y = digit.astype(np.int32)
  train, test = (
    clients_by_owner({'x': x[rows], 'y': y[rows]}, owner[rows], [str(name) for name in speakers])
    for rows in (train_rows, ~train_rows)
  )
  return FederatedData(
    train=train,
    test=test.pooled(),
    problem=Problem.CLASSIFICATION,
    num_classes=10,
    test_clients=test,
    sources={path.name: files.sha256_of(path)},
  )


def log_mel(sound: np.ndarray) -> np.ndarray:
  """Log-mel spectrograms, with the parameters given above.

  Args:
    sound: float32 [n, samples], 8,000 samples per second, in -1..1.

  Returns:
    float32 [n, 1 + samples / 200, 40], before standardisation.
  """
  bands = _mel_bands()
  # In parts: the spectra of all recordings at once take ten times the memory of the result.
  parts = np.array_split(sound, max(1, len(sound) // 500))
  return np.concatenate([_log_mel_of_part(part, bands) for part in parts])


def _log_mel_of_part(sound: np.ndarray, bands: np.ndarray) -> np.ndarray:
  _, _, spectrum = signal.stft(
    sound, nperseg=_WINDOW, noverlap=_WINDOW - _HOP, boundary='zeros', padded=False
  )
  power = np.square(np.abs(spectrum))
  return np.log(np.einsum('nft,mf->ntm', power, bands, optimize=True) + _FLOOR).astype(np.float32)


def _mel_bands() -> np.ndarray:
  """Triangular filters, float64 [40, frequencies], each rising to 1 at its centre."""
  frequencies = np.fft.rfftfreq(_WINDOW, 1 / _RATE)
  edges = _hertz(np.linspace(0, _mel(_RATE / 2), _MELS + 2))
  low, centre, high = (edges[k : k + _MELS, np.newaxis] for k in range(3))
  rising = (frequencies - low) / (centre - low)
  falling = (high - frequencies) / (high - centre)
  return np.maximum(0, np.minimum(rising, falling))


def _mel(hertz):
  return 2595 * np.log10(1 + hertz / 700)


def _hertz(mel):
  return 700 * (10 ** (mel / 2595) - 1)


def _fetch(data_dir: str):
  """The packed recordings where they are, else the repository's own archive at one commit."""
  if files.find(data_dir, _FOLDER, _PACKED):
    return files.fetch(data_dir, _FOLDER, _PACKED, _URL, _PACKED_SHA256)
  return files.fetch(data_dir, _FOLDER, _ARCHIVE, _URL)


def _read(path) -> dict[str, np.ndarray]:
  """The first second of every recording by file name, float32 [8000] in -1..1."""
  recordings, digest = {}, hashlib.sha256()
  with files.reading(path), tarfile.open(path) as archive:
    members = {}
    for member in archive:
      match, stream = _RECORDING.fullmatch(member.name), archive.extractfile(member)
      if match and stream is not None:
        members[match['name']] = stream.read()
  for name in sorted(members):
    digest.update(name.encode() + members[name])
    recordings[name] = _samples(f'{path}: {name}', members[name])
  if digest.hexdigest() != _CONTENT_SHA256:
    raise UsageError(
      f'{path}: its {len(recordings)} recordings are not those published at {_COMMIT[:10]}; remove '
      f'it, and they are downloaded from {_URL}'
    )
  return recordings


def _samples(where: str, content: bytes) -> np.ndarray:
  with files.reading(where):
    try:
      rate, samples = wavfile.read(io.BytesIO(content))
    except ValueError as error:
      raise UsageError(f'{where}: not a WAV file ({files.one_line(error)})') from error
  if rate != _RATE or samples.dtype != np.int16 or samples.ndim != 1:
    raise UsageError(f'{where}: not mono, 16 bit, {_RATE} Hz')
  fixed = np.zeros(_RATE, np.float32)
  fixed[: len(samples)] = samples[:_RATE] / np.float32(32768)
  return fixed
