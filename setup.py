"""The packages to build: all of `livecaption`, and the pages, which stand beside it in a checkout."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["livecaption", "livecaption.*"]), "livecaption.static"],
    package_dir={"livecaption.static": "static"},
)
