"""A function host for one machine: runs a Python v2 function app as Azure Functions would, without Core Tools.

It indexes the app through the `azure-functions` package and converts with that package's own binding converters, the
ones the real worker uses. It hosts HTTP, Event Grid, timer and queue triggers; output bindings, in-function retry
policies and other triggers are refused by name when it starts.

    python -m local.functions_host --app function_app:app --port 7071 --script-root .

Settings come from the environment, as on Azure:

- `AzureWebJobsStorage`, and each queue trigger's connection: connection strings (timers keep their status there);
- `FUNCTIONS_MASTER_KEY`, `FUNCTIONS_HOST_KEY`, `FUNCTIONS_EVENTGRID_KEY`, `FUNCTIONS_FUNCTION_KEYS` (JSON object of
  function name to key): generated when missing;
- `AzureFunctionsJobHost__extensions__queues__batchSize` and the like override host.json;
- `PYTHON_THREADPOOL_THREAD_COUNT` (16), `FUNCTIONS_REQUEST_BODY_SIZE_LIMIT` (100 MiB), `AzureFunctionsWebHost__hostid`,
  `WEBSITE_INSTANCE_ID`.

Different from Azure: one process for host and functions, so a function that outlasts `functionTimeout` is reported as
failed but its thread runs on; one host lock for all timers instead of one each.
"""
