"""Speed against TFF's own processes and against a plain TensorFlow loop; see README.md."""
