"""From an image file to a checked OME-Zarr store: conversion, normalisation constants, tissue mask."""
