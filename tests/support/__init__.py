"""What the tests share: stand-ins, tiny models, made-up recordings and corpora. Import it as `tests.support.NAME`."""
