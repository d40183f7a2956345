// Who the parts are. Each may do what rbac.yml says, and nothing else.
param prefix string
param location string
param tags object

var names = [
  'app'
  'training'
  'scoring-test'
  'scoring-production'
  'build'
  'operate'
  'break-glass'
  'deploy'
  'backup'
]

resource identities 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = [for name in names: {
  name: '${prefix}-${name}'
  location: location
  tags: tags
}]

output app object = {
  id: identities[0].id
  principal: identities[0].properties.principalId
  client: identities[0].properties.clientId
}
output training object = {
  id: identities[1].id
  principal: identities[1].properties.principalId
  client: identities[1].properties.clientId
}
output scoringTest object = {
  id: identities[2].id
  principal: identities[2].properties.principalId
  client: identities[2].properties.clientId
}
output scoringProduction object = {
  id: identities[3].id
  principal: identities[3].properties.principalId
  client: identities[3].properties.clientId
}
output build object = {
  id: identities[4].id
  principal: identities[4].properties.principalId
  client: identities[4].properties.clientId
}
output operate object = {
  id: identities[5].id
  principal: identities[5].properties.principalId
  client: identities[5].properties.clientId
}
output breakGlass object = {
  id: identities[6].id
  principal: identities[6].properties.principalId
  client: identities[6].properties.clientId
}
output deploy object = {
  id: identities[7].id
  principal: identities[7].properties.principalId
  client: identities[7].properties.clientId
}
output backup object = {
  id: identities[8].id
  principal: identities[8].properties.principalId
  client: identities[8].properties.clientId
}
