"""Alerts: what people are told, once for each cause, until it is over.

An alert is an item of the root that has the trouble, written in the same transaction as what caused it. The transition
tables say what raises one and what clears it (`machine.Then`); its own table is in `alert`.
"""
