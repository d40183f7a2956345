// What Microsoft's Kusto language service says of queries: a JSON object of texts in, {name: [problems]} out.
"use strict";

require("@kusto/language-service-next/bridge.min.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.min.js");

const { GlobalState, KustoCode, Symbols } = Kusto.Language;
const { schema, queries } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const tables = Object.entries(schema).map(([name, columns]) => Symbols.TableSymbol.From(columns).WithName(name));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1("logs", tables, false));

const found = {};
for (const [name, text] of Object.entries(queries)) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  const diagnostics = code.GetDiagnostics();
  const columns = code.ResultType && code.ResultType.Columns;
  found[name] = { problems: [], columns: [] };
  for (let i = 0; i < diagnostics.Count; i++) {
    found[name].problems.push(diagnostics.getItem(i).Message);
  }
  for (let i = 0; columns && i < columns.Count; i++) {
    found[name].columns.push(columns.getItem(i).Name);
  }
}
process.stdout.write(JSON.stringify(found));
