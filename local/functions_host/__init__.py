"""A function host for one machine: runs a Python v2 function app as Azure Functions would, without Core Tools."""
