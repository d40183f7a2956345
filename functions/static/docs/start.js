// The API's own document, to be read and tried. "Authorize" takes a token, which `fleet token` prints; it is kept by this
// page alone. No validator elsewhere is asked.

const address = new URL("../../openapi.json", document.currentScript.src);

window.SwaggerUIBundle({
  url: address.href,
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  persistAuthorization: false,
  validatorUrl: null,
});
