import hashlib
import io
import tarfile

import numpy as np
import pytest
from scipy.io import wavfile

from fl_research.datasets import spoken_digits
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import dataset_checks as checks

RATE = 8000


def wav(samples, rate=RATE) -> bytes:
  stream = io.BytesIO()
  wavfile.write(stream, rate, samples)
  return stream.getvalue()


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
  time = np.arange(int(seconds * RATE)) / RATE
  return (20_000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def recordings() -> dict[str, bytes]:
  """Two speakers, two digits, indices 4 (test) and 5 and 6 (training)."""
  return {
    f'{digit}_{speaker}_{index}.wav': wav(tone(300 + 40 * digit + 100 * index, 0.3 * (digit + 1)))
    for digit in (0, 7)
    for speaker in ('ann', 'bob')
    for index in (4, 5, 6)
  }


@pytest.fixture
def archive(tmp_path, monkeypatch):
  """Writes recordings as a packed archive that is accepted as the published one."""
  (tmp_path / 'free_spoken_digits').mkdir()

  def write(files: dict[str, bytes], name='recordings.tar.gz', folder='recordings/'):
    path = tmp_path / 'free_spoken_digits' / name
    with tarfile.open(path, 'w:gz') as stream:
      for file_name in reversed(files):
        member = tarfile.TarInfo(folder + file_name)
        member.size = len(files[file_name])
        stream.addfile(member, io.BytesIO(files[file_name]))
    digest = hashlib.sha256()
    for file_name in sorted(files):
      digest.update(file_name.encode() + files[file_name])
    monkeypatch.setattr(spoken_digits, '_CONTENT_SHA256', digest.hexdigest())
    packed = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(spoken_digits, '_PACKED_SHA256', packed)
    return DatasetOptions(data_dir=str(tmp_path))

  return write


def test_the_published_recordings():
  data = spoken_digits.load(checks.published('free_spoken_digits', 'recordings.tar.gz'))
  checks.assert_form(data, [41, 40, 1], np.float32, [], np.int32)
  assert (data.problem, data.num_classes) == (Problem.CLASSIFICATION, 10)
  speakers = ['george', 'jackson', 'lucas', 'nicolas', 'theo', 'yweweler']
  assert list(data.train.ids) == list(data.test_clients.ids) == speakers
  assert data.train.sizes.tolist() == [450] * 6 and data.test_clients.sizes.tolist() == [50] * 6
  for k in range(6):
    assert np.bincount(data.train.examples(k)['y']).tolist() == [45] * 10
    assert np.bincount(data.test_clients.examples(k)['y']).tolist() == [5] * 10
  pool = data.train.pooled()['x']
  np.testing.assert_allclose(pool.mean(axis=(0, 1), dtype=np.float64), 0, atol=1e-4)
  np.testing.assert_allclose(pool.std(axis=(0, 1), dtype=np.float64), 1, atol=1e-4)


@pytest.mark.parametrize(
  'name, folder',
  [
    ('recordings.tar.gz', 'recordings/'),
    (spoken_digits._ARCHIVE, f'free-spoken-digit-dataset-{spoken_digits._COMMIT}/recordings/'),
  ],
)
def test_recordings_go_to_their_speakers(archive, name, folder):
  data = spoken_digits.load(archive(recordings(), name, folder))
  checks.assert_form(data, [41, 40, 1], np.float32, [], np.int32)
  assert list(data.train.ids) == ['ann', 'bob']
  assert data.train.examples(1)['y'].tolist() == [0, 0, 7, 7]
  assert data.test_clients.examples(0)['y'].tolist() == [0, 7]
  assert list(data.sources) == [name]


@pytest.mark.parametrize('hertz', [200, 440, 1000, 3000])
def test_a_tone_is_loudest_in_the_band_that_holds_it(hertz):
  sound = np.zeros((1, RATE), np.float32)
  sound[0, : RATE // 2] = tone(hertz) / 32768
  spectrogram = spoken_digits.log_mel(sound)
  assert spectrogram.shape == (1, 41, 40) and spectrogram.dtype == np.float32
  # Centres of 40 bands equally wide in mel: band k is centred at (k + 1) 41sts of 2,146.06 mel.
  mel = 2595 * np.log10(1 + hertz / 700)
  assert abs(spectrogram[0, 10].argmax() - (mel / 2146.06 * 41 - 1)) < 0.6
  # After half a second there is silence, at the floor.
  np.testing.assert_allclose(spectrogram[0, 22:], np.log(1e-10), rtol=1e-5)


def test_every_mel_band_covers_frequencies_and_neighbours_add_up_to_one():
  bands = spoken_digits._mel_bands()
  assert bands.shape == (40, 201)
  assert (bands.max(axis=1) > 0.4).all()
  inside = slice(*np.searchsorted(np.arange(201) * 20.0, [40, 3700]))
  np.testing.assert_allclose(bands.sum(axis=0)[inside], 1, atol=1e-9)


def test_only_the_first_second_counts(archive):
  files = recordings()
  long = np.concatenate([tone(500, 1), tone(900, 1)])
  files['7_ann_5.wav'], files['7_ann_6.wav'] = wav(long), wav(long[:RATE])
  x = spoken_digits.load(archive(files)).train.examples(0)['x']
  np.testing.assert_array_equal(x[2], x[3])


@pytest.mark.parametrize(
  'content, part',
  [
    (b'no sound', 'not a WAV file'),
    (wav(tone(500), 16_000), 'not mono, 16 bit, 8000 Hz'),
    (wav(np.zeros((100, 2), np.int16)), 'not mono'),
    (wav(np.zeros(100, np.uint8)), 'not mono, 16 bit'),
    (b'', '7_bob_6.wav'),
  ],
)
def test_malformed_recordings(archive, content, part):
  with checks.one_line_error('recordings.tar.gz', '7_bob_6.wav', part):
    spoken_digits.load(archive({**recordings(), '7_bob_6.wav': content}))


def test_an_archive_with_other_recordings_is_refused(archive, monkeypatch):
  options = archive(recordings(), spoken_digits._ARCHIVE)
  monkeypatch.setattr(spoken_digits, '_CONTENT_SHA256', '0' * 64)
  with checks.one_line_error(spoken_digits._ARCHIVE, '12 recordings', 'github.com'):
    spoken_digits.load(options)


def test_an_archive_cut_short(archive, tmp_path, monkeypatch):
  options = archive(recordings())
  path = tmp_path / 'free_spoken_digits' / 'recordings.tar.gz'
  path.write_bytes(path.read_bytes()[:-100])
  with checks.one_line_error('recordings.tar.gz', 'SHA-256'):
    spoken_digits.load(options)
  monkeypatch.setattr(
    spoken_digits, '_PACKED_SHA256', hashlib.sha256(path.read_bytes()).hexdigest()
  )
  with checks.one_line_error('recordings.tar.gz', 'truncated'):
    spoken_digits.load(options)
