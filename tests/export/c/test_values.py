"""Texts of the C templates: constants of SHA-256, names and initializers."""

import numpy as np

from export.c.values import cube_root, numbers, plain, sha256_constants


def test_the_constants_of_sha256_are_those_of_the_standard():
    constants = sha256_constants()
    assert len(constants) == 64
    assert constants[:2] == [0x428A2F98, 0x71374491]  # FIPS 180-4, section 4.2.2
    assert constants[-1] == 0xC67178F2


def test_cube_roots_are_exact():
    values = [0, 1, 7, 8, 26, 27, 10**60, 10**60 - 1]
    assert [cube_root(n) for n in values] == [0, 1, 1, 2, 2, 3, 10**20, 10**20 - 1]


def test_names_keep_only_harmless_characters():
    assert plain("block0.lif-1_x") == "block0.lif-1_x"
    assert plain('*/"\\\n??/é') == "_" * 9


def test_initializers_have_short_lines():
    text = numbers(np.arange(-30, 30))
    assert [int(n) for n in text.split(",")] == list(range(-30, 30))
    assert max(map(len, text.splitlines())) < 128
