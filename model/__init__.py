"""What is computed: sampling, pairs, correction, evaluation, gate. The only package that imports torch."""
